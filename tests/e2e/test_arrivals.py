"""Load is drawn from a seed and is what it says."""

import pytest

from e2e.load.arrivals import Slot, merged, paper_like_slots, poisson


def test_the_same_seed_gives_the_same_arrivals_and_another_function_others() -> None:
    slots = paper_like_slots(15, length_s=5, low=5, high=15, seed=7)
    assert poisson("a", slots, 7) == poisson("a", slots, 7)
    assert [a.due_s for a in poisson("a", slots, 7)] != [b.due_s for b in poisson("b", slots, 7)]


@pytest.mark.parametrize("count", [15, 50])
def test_load_stays_within_its_ends_touches_the_upper_and_ends_low(count: int) -> None:
    rates = [slot.requests_per_s for slot in paper_like_slots(count, length_s=5, low=5, high=15, seed=1)]
    assert min(rates) >= 5
    assert 14 <= max(rates) <= 15
    assert rates[0] < 7 > rates[-1]


def test_poisson_arrivals_have_the_mean_rate_of_their_slot() -> None:
    arrivals = poisson("a", [Slot(start_s=10, length_s=1000, requests_per_s=8)], 3)
    assert 7.7 < len(arrivals) / 1000 < 8.3
    assert all(10 <= arrival.due_s < 1010 for arrival in arrivals)


def test_a_slot_without_load_has_no_arrivals() -> None:
    assert poisson("a", [Slot(start_s=0, length_s=5, requests_per_s=0)], 1) == ()


def test_streams_merge_in_due_order() -> None:
    slots = paper_like_slots(4, length_s=5, low=5, high=15, seed=2)
    both = merged([poisson("a", slots, 1), poisson("b", slots, 1)])
    assert list(both) == sorted(both)
    assert {arrival.function for arrival in both} == {"a", "b"}
