"""The queue of a pod that batches: held against the M/D/1 queue, which it is without batches."""

from __future__ import annotations

import numpy as np
import pytest
from hasgpu.prediction.bulk_queue import most_load, sojourn_tail
from hasgpu.prediction.queueing import waiting_tail

CHEAP = (1.0, 1.2, 1.4, 1.6)
"""Four requests for 1.6 times what one takes."""


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_without_batches_it_is_the_queue_of_one_after_the_other(load: float) -> None:
    x = np.linspace(1.05, 12.0, 30)
    assert sojourn_tail((1.0,), load, x) == pytest.approx(waiting_tail(load, x - 1.0), abs=0.02)


def test_full_batches_do_most() -> None:
    assert most_load(CHEAP) == pytest.approx(2.5)


def test_nobody_is_answered_faster_than_alone_and_without_load_nobody_waits() -> None:
    assert list(sojourn_tail(CHEAP, 0.5, np.array([0.5, 0.95]))) == pytest.approx([1.0, 1.0], abs=0.01)
    assert list(sojourn_tail(CHEAP, 0.0, np.array([0.99, 1.0]))) == [1.0, 0.0]


def test_batches_wait_less_than_the_same_requests_one_after_the_other() -> None:
    x = np.array([4.0])
    rate = 0.8
    assert sojourn_tail(CHEAP, rate / most_load(CHEAP), x)[0] < 0.5 * sojourn_tail((1.0,), rate, x)[0]


def test_the_tail_falls_and_goes_on_beyond_its_grid() -> None:
    tail = sojourn_tail(CHEAP, 0.9, np.linspace(0.0, 40.0, 400))
    assert np.all(np.diff(tail) <= 1e-12)
    assert 0.0 < tail[-1] < 1e-2
