"""Random lives of revisions, decided as Knative decided them: its answers are stored, so this needs no Go."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.conformance.answers import STORED_ANSWERS, read_answers
from e2e.conformance.compare import difference_to
from e2e.conformance.scripts import Script

STORED = list(read_answers(STORED_ANSWERS))


@pytest.mark.parametrize(
    ("script", "answer"), [pytest.param(*each, id=f"life-{index}") for index, each in enumerate(STORED)]
)
def test_ours_decides_as_upstream_in(script: Script, answer: dict[str, Any]) -> None:
    assert difference_to(script, answer) is None
