"""What the documents say is there: sections that comments refer to, annotation keys, files that are linked or named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hasgpu.model.annotations import USER_KEYS, USER_PREFIX

ROOT = Path(__file__).parents[2]
CODE = ("plugin", "webhooks", "e2e", "tests")
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("e2e/*/README.md"), *ROOT.glob("plugin/*/*.md")]


def sections(design: str) -> set[str]:
    """Numbers of sections, and of the items of numbered lists in them: {"5", "5.1"}."""
    found: set[str] = set()
    section = ""
    for line in design.splitlines():
        if heading := re.match(r"## (\d+)\. ", line):
            section = heading[1]
            found.add(section)
        elif item := re.match(r"(\d+)\. ", line):
            found.add(f"{section}.{item[1]}")
    return found


def test_every_section_of_the_design_that_a_comment_names_exists() -> None:
    named: set[str] = set()
    for root in ("plugin", "webhooks", "e2e"):
        for file in (ROOT / root).rglob("*.*"):
            if file.suffix in (".py", ".c", ".h"):
                for places in re.findall(r"design ((?:(?:, )?§\d[\d.]*)+)", file.read_text()):
                    named |= {number.rstrip(".") for number in re.findall(r"\d[\d.]*", places)}
    assert len(named) > 5
    assert named <= sections((ROOT / "docs/design.md").read_text())


def test_the_guide_lists_the_annotations_that_there_are() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    table = guide[guide.index("| `hasgpu.dev/…` |") :].split("\n\n")[0]
    listed = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert listed == [key.removeprefix(USER_PREFIX) for key in USER_KEYS]


def test_every_reason_of_a_decision_is_explained_and_no_other() -> None:
    given: set[str] = set()
    for package in ("decision", "autoscaler"):
        for file in (ROOT / "plugin/hasgpu" / package).glob("*.py"):
            given |= set(re.findall(r'\b[Rr]eason\(\s*"([a-z-]+)"', file.read_text()))
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs/reasons.md").read_text(), re.MULTILINE)
    assert given == {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}


def test_every_event_is_explained_and_no_other() -> None:
    voices = {"event", "_event", "warn", "_warn", "_complain"}
    sent: set[str] = set()
    for root in ("plugin/hasgpu", "webhooks/hasgpu_webhook"):
        for file in (ROOT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in voices:
                    words = {each.value for each in node.args if isinstance(each, ast.Constant)}
                    sent |= {str(word) for word in words if re.fullmatch(r"[A-Z]\w+", str(word))}
    table = (ROOT / "docs/reasons.md").read_text().partition("## Events")[2]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert sent - {"Normal", "Warning"} == {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_what_a_document_links_to_exists() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:plugin|webhooks|tests|e2e|docs|manifests)/[\w./-]*\w/?)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def written() -> Iterator[Path]:
    """Documents, and everything that has comments."""
    yield from (*DOCUMENTS, ROOT / "Makefile", *ROOT.glob("manifests/*.yaml"))
    for root in CODE:
        yield from (file for file in sorted((ROOT / root).rglob("*.*")) if file.suffix in (".py", ".c", ".h"))


def test_the_verbs_that_comments_and_documents_name_are_in_the_makefile() -> None:
    verbs = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (verb, file.name) for file in written() for verb in re.findall(r"`make ([a-z][a-z0-9-]*)", file.read_text())
    }
    assert len(named) > 10
    assert {(verb, name) for verb, name in named if verb not in verbs} == set()


def test_comments_refer_to_what_a_reader_of_the_checkout_has() -> None:
    assert [file for file in written() if re.search(r"\bissue #?\d", file.read_text())] == []
