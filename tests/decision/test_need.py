"""Pods that need more than their row has: who gives way, to whom, by how much."""

from __future__ import annotations

import pytest
from hasgpu.decision.need import LEAST_EXCHANGE_PERCENT, Need, dues
from hasgpu.model.keys import PodKey, RevisionKey
from hypothesis import given
from hypothesis import strategies as st


def need(
    name: str,
    now: int,
    *,
    held: int | None = None,
    written: int = 5,
    priority: int = 0,
    least: int = 5,
    placed: bool = True,
) -> Need:
    return Need(
        pod=PodKey("ns", name, name),
        revision=RevisionKey("ns", name),
        priority=priority,
        least=least,
        now=now,
        held=now if held is None else held,
        written=written,
        placed=placed,
    )


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param([need("a", 70), need("b", 30)], [70, 30], id="all get what they need where there is enough"),
        pytest.param(
            [need("a", 70, written=40), need("b", 20, held=60, written=60)],
            [70, 30],
            id="what is held for demand that has passed is lent at once",
        ),
        pytest.param(
            [need("a", 30, held=60, written=40), need("b", 20, held=60, written=60)],
            [40, 60],
            id="nobody gives way to demand that has passed",
        ),
        pytest.param(
            [need("a", 90, written=50), need("b", 60, written=50)],
            [60, 40],
            id="equals get the same part of what they need",
        ),
        pytest.param(
            [need("a", 50, written=48), need("b", 60, written=52)],
            [48, 52],
            id="but exchange no few points for it",
        ),
        pytest.param(
            [need("a", 50, written=48), need("b", 40, held=60, written=52)],
            [50, 50],
            id="a few points that are all that a pod lacks now are exchanged",
        ),
        pytest.param(
            [need("a", 50, written=48), need("b", 60, written=52, priority=1)],
            [40, 60],
            id="between priorities no point is too few",
        ),
        pytest.param(
            [need("a", 90, written=90), need("b", 6, written=6), need("c", 90, written=4)],
            [48, 5, 47],
            id="the same part is never less than the lower bound",
        ),
        pytest.param(
            [need("a", 90, priority=1), need("b", 60, written=90)],
            [90, 10],
            id="the higher priority has all it needs first",
        ),
        pytest.param(
            [need("a", 100, priority=1), need("b", 60, written=90)],
            [95, 5],
            id="but the lower one keeps its lower bound",
        ),
        pytest.param(
            [need("a", 80, priority=1), need("b", 30, written=30, priority=1), need("c", 20, written=20)],
            [69, 26, 5],
            id="equals of a higher priority share what the lower one leaves",
        ),
        pytest.param(
            [
                need("a", 50, written=50),
                need("new", 40, written=0, least=0, placed=False),
                need("low", 45, priority=-1),
            ],
            [50, 40, 10],
            id="a pod that waits comes after its equals and before the less important",
        ),
        pytest.param(
            [need("a", 60, written=60), need("new", 60, written=0, least=0, placed=False)],
            [60, 40],
            id="a pod that waits takes nothing from its equals",
        ),
        pytest.param(
            [need("a", 50, written=95), need("parked", 0, written=0, least=0), need("wakes", 5, written=0)],
            [50, 0, 5],
            id="a parked pod needs nothing and one that wakes has room at once",
        ),
    ],
)
def test_a_rows_time_is_shared_by_need_and_priority(needs: list[Need], expected: list[int]) -> None:
    due = dues(100, needs)
    assert [due[each.pod] for each in needs] == expected


shapes = st.lists(
    st.tuples(st.integers(5, 60), st.integers(0, 95), st.integers(0, 95), st.integers(-1, 1)), min_size=1, max_size=8
)


def made(shape: list[tuple[int, int, int, int]]) -> list[Need]:
    """Pods that hold together no more than there is, and need at least their lower bound."""
    share = 100 // len(shape)
    return [
        need(
            f"p{i}",
            min(100, least + more),
            held=min(100, least + more + passed),
            written=share,
            priority=priority,
            least=min(least, share),
        )
        for i, (least, more, passed, priority) in enumerate(shape)
    ]


@given(shapes)
def test_never_more_than_there_is_nor_than_is_needed_nor_less_than_the_lower_bound(
    shape: list[tuple[int, int, int, int]],
) -> None:
    needs = made(shape)
    due = dues(100, needs)
    assert sum(due.values()) <= 100
    assert all(each.least <= due[each.pod] <= max(each.held, each.least) for each in needs)


@given(shapes)
def test_nobody_is_above_its_lower_bound_while_a_more_important_pod_is_short(
    shape: list[tuple[int, int, int, int]],
) -> None:
    needs = made(shape)
    due = dues(100, needs)
    for high in needs:
        if due[high.pod] < high.held:
            assert all(due[low.pod] <= low.least for low in needs if low.priority < high.priority)


@given(shapes)
def test_no_room_is_left_while_somebody_is_short(shape: list[tuple[int, int, int, int]]) -> None:
    needs = made(shape)
    due = dues(100, needs)
    assert sum(due.values()) == 100 or all(due[each.pod] >= each.held for each in needs)


@given(shapes)
def test_of_equals_nobody_has_a_larger_part_while_another_is_short_now(
    shape: list[tuple[int, int, int, int]],
) -> None:
    """Max-min fair on what each needs now, but for whole percents, lower bounds and exchanges too small to be made."""
    less = 1 + LEAST_EXCHANGE_PERCENT
    needs = made([(least, more, passed, 0) for least, more, passed, _ in shape])
    due = dues(100, needs)
    for poor in needs:
        for rich in needs:
            if due[poor.pod] < poor.now and due[rich.pod] - LEAST_EXCHANGE_PERCENT >= rich.least:
                assert (due[rich.pod] - less) / rich.now <= (due[poor.pod] + less) / poor.now
