"""The house rules that a machine can check: who imports whom, what is listed is what is there, sizes."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = {"hasgpu": ROOT / "plugin/hasgpu", "hasgpu_webhook": ROOT / "webhooks/hasgpu_webhook"}
MODULE_LINES, FUNCTION_LINES = 400, 40


def modules() -> Iterator[Path]:
    for root in ROOTS.values():
        for file in sorted(root.rglob("*.py")):
            if not file.stem.endswith(("_pb2", "_pb2_grpc")):
                yield file


def test_imports_point_inward() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_listed_packages_are_the_tree() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = [line.split("#")[0].strip() for line in setup["options"]["packages"].splitlines()]
    found = {
        ".".join((name, *file.parent.relative_to(root).parts))
        for name, root in ROOTS.items()
        for file in root.rglob("__init__.py")
    }
    assert sorted(filter(None, listed)) == sorted(found)


@pytest.mark.parametrize("file", list(modules()), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_says_what_room_it_is_and_is_no_longer_than_a_person_can_hold(file: Path) -> None:
    text = file.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module begins with what room it is"
    assert len(text.splitlines()) <= MODULE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert [str(file) for file in modules() if later.search(file.read_text())] == []


def test_make_help_lists_every_verb() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE))
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")} == phony
    assert phony >= {"setup", "check", "test", "testbed-up", "testbed-down", "install", "uninstall", "demo", "e2e"}


def test_the_readmes_commands_exist() -> None:
    verbs = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    said = {word for line in re.findall(r"make ([a-z][a-z0-9 -]*)", text) for word in line.split()}
    assert {word for word in said if word in verbs} >= {"demo", "test"}
    for command in re.findall(r"`make ([a-z][a-z0-9-]*)", text):
        assert command in verbs, command
