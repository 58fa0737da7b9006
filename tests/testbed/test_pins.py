"""One file says what the bed is made of, and go.mod, setup.cfg and the manifests agree with it."""

from __future__ import annotations

import re

import pytest

from e2e.testbed import workshop
from e2e.testbed.constraints import EXTRAS
from e2e.testbed.paths import CONSTRAINTS, GO_GROUPS, ROOT
from e2e.testbed.pins import GO_GROUPS as PINNED
from e2e.testbed.pins import GoGroup
from e2e.testbed.recipes import PRODUCT, SYSTEM


@pytest.mark.parametrize("group", PINNED, ids=lambda group: group.module)
def test_go_mod_requires_the_pinned_version_and_keeps_every_program(group: GoGroup) -> None:
    module = (GO_GROUPS / group.folder / "go.mod").read_text()
    assert re.search(rf"^\s*(require )?{re.escape(group.module)} {re.escape(group.version)}\b", module, re.MULTILINE)
    kept = set(re.findall(r"^(?:tool\s+|\t)([\w./-]+)$", module, re.MULTILINE))
    assert set(group.programs.values()) <= kept


def constraints() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in CONSTRAINTS.read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_requirement_of_an_image_is_pinned(extra: str) -> None:
    names = {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in workshop.requirements(extra)}
    assert names <= constraints().keys()


def test_every_local_image_of_the_manifests_has_a_recipe() -> None:
    made = {f"hasgpu.local/{recipe.name}:1" for recipe in (*SYSTEM, *PRODUCT)}
    texts = [file.read_text() for file in (ROOT / "manifests").rglob("*.yaml")]
    used = {image for text in texts for image in re.findall(r"hasgpu\.local/[\w-]+:\w+", text)}
    assert used <= made


def test_no_two_recipes_share_a_name() -> None:
    names = [recipe.name for recipe in (*SYSTEM, *PRODUCT)]
    assert len(names) == len(set(names))
