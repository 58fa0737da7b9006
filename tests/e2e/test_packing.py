"""The packing row: its bound is one, and its random operations do what they say."""

from __future__ import annotations

import pytest

from e2e.evaluation.operations import Books
from e2e.evaluation.packing import least_bins, packed


@pytest.mark.parametrize(
    ("sizes", "bins"),
    [
        pytest.param([], 0, id="nothing needs nothing"),
        pytest.param([60, 60, 60], 3, id="what is larger than a half is alone"),
        pytest.param([50, 50, 50], 2, id="halves pair up"),
        pytest.param([70, 70, 40, 40], 3, id="small ones that fit beside none of the large need bins of their own"),
    ],
)
def test_no_packing_needs_fewer_bins(sizes: list[int], bins: int) -> None:
    assert least_bins(sizes) == bins


def test_no_way_of_packing_needs_fewer_gpus_than_the_bound_and_moves_only_free_some() -> None:
    found = packed(7)
    assert found.bound <= found.at_once
    assert found.bound <= found.emptied <= found.led <= found.online
    assert found.online_without_memory <= found.online
    assert found.over_committed == 0


def test_random_operations_do_all_that_is_done_to_books_and_break_nothing() -> None:
    books = Books(seed=3)
    books.run(4000)
    assert books.broken == 0
    assert set(books.done) == {"placed", "refused", "raised", "lowered", "laid", "deleted", "gone", "moved"}
    assert books.done.total() == pytest.approx(4000, abs=100)
