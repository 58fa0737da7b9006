"""What differs between two looks, by identity."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.changes import Groups, changes
from hypothesis import given
from hypothesis import strategies as st

A, B, C = ["a"], ["b"], ["c"]
NEWER_B = ["b"]


@pytest.mark.parametrize(
    ("before", "now", "gone", "come"),
    [
        pytest.param([A, B], [A, B], [], [], id="nothing changed"),
        pytest.param([A, B], [A, NEWER_B], [B], [NEWER_B], id="a newer copy replaces the one before"),
        pytest.param([A, B], [A, B, C], [], [C], id="one came"),
        pytest.param([A, B, C], [A, C], [B], [], id="one in the middle went"),
        pytest.param([A, B], [B, C], [A], [C], id="one went and another came: who only moved has not changed"),
    ],
)
def test_changes(before: list[list[str]], now: list[list[str]], gone: list[list[str]], come: list[list[str]]) -> None:
    found = changes(before, now)
    assert [[id(each) for each in part] for part in found] == [[id(each) for each in part] for part in (gone, come)]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.one_of(st.none(), st.integers(0, 2)), st.integers())))
def test_groups_are_what_was_put_last_and_not_dropped(steps: list[tuple[str, int | None, int]]) -> None:
    groups: Groups[int, int] = Groups()
    there: dict[str, tuple[int, int]] = {}
    for name, group, value in steps:
        if group is None:
            groups.drop(name)
            there.pop(name, None)
        else:
            groups.put(name, group, value)
            there[name] = group, value
    wanted = {group: sorted(value for of, value in there.values() if of == group) for group, _ in there.values()}
    assert {group: sorted(values) for group, values in groups.all().items()} == wanted
