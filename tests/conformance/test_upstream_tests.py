"""Every call that upstream's own unit tests make to the algorithm, repeated on ours: same input, same answer.

``upstream-tests.jsonl`` is written by ``make conformance-record``; its first line names the version.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from e2e.conformance.recordings import STORED, read
from e2e.conformance.replay import REPLAYS, Case, users_can_set
from e2e.testbed.pins import GO_GROUPS

VERSION, RECORDED = read(STORED)
BY_TEST: dict[tuple[str, str], list[Case]] = defaultdict(list)
for each in filter(users_can_set, RECORDED):
    BY_TEST[each["kind"], each["test"] or "TestReconcile"].append(each)


@pytest.mark.parametrize(
    ("kind", "cases"), [pytest.param(kind, cases, id=f"{kind}-{test}") for (kind, test), cases in BY_TEST.items()]
)
def test_ours_answers_as_upstream_did_in(kind: str, cases: list[Case]) -> None:
    for case in cases:
        REPLAYS[kind](case)


def test_all_kinds_of_the_pinned_version_are_recorded() -> None:
    pinned = next(group.version for group in GO_GROUPS if group.folder == "serving")
    assert f"knative.dev/serving {pinned}" == VERSION
    assert {kind for kind, _ in BY_TEST} == REPLAYS.keys()
    assert len(RECORDED) > 700
