"""A key waits once, is worked on by one worker, and comes back later after each failure."""

from __future__ import annotations

import threading

from hasgpu.autoscaler.work_queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drained(queue: WorkQueue[str]) -> list[str]:
    """What can be taken now, in order; each is done at once."""
    taken = []
    while len(queue):
        key = queue.take()
        assert key is not None
        taken.append(key)
        queue.done(key)
    return taken


def ripen(queue: WorkQueue[str], clock: Clock, now: float) -> list[str]:
    """What can be taken at ``now``: a key added then makes ``take`` look at the delayed ones."""
    clock.now = now
    queue.add("probe")
    taken = drained(queue)
    taken.remove("probe")
    return taken


def test_a_key_added_many_times_is_taken_once_in_order_of_first_adding() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("b", "a", "b", "c", "a"):
        queue.add(key)
    assert drained(queue) == ["b", "a", "c"]


def test_a_key_added_while_worked_on_comes_back_when_done_and_not_before() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"
    queue.done("a")
    assert queue.take() == "a"


def test_the_shortest_of_several_delays_counts_once() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for delay_s in (9.0, 3.0, 5.0):
        queue.add_after("a", delay_s)
    assert ripen(queue, clock, 2.9) == []
    assert ripen(queue, clock, 3.0) == ["a"]
    assert ripen(queue, clock, 60.0) == []


def test_a_longer_delay_set_after_the_first_came_due_counts_anew() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 1.0)
    assert ripen(queue, clock, 1.0) == ["a"]
    queue.add_after("a", 5.0)
    assert ripen(queue, clock, 5.9) == []
    assert ripen(queue, clock, 6.0) == ["a"]


def test_failures_wait_longer_each_time_until_one_success() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for wait_s in (0.005, 0.01, 0.02):
        begun = clock.now
        queue.retry("a")
        assert ripen(queue, clock, begun + wait_s * 0.9) == []
        assert ripen(queue, clock, begun + wait_s) == ["a"]
    queue.succeeded("a")
    begun = clock.now
    queue.retry("a")
    assert ripen(queue, clock, begun + 0.005) == ["a"]


def test_a_server_that_asks_for_patience_gets_it() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.retry("a", least_s=2.0)
    assert ripen(queue, clock, 1.9) == []
    assert ripen(queue, clock, 2.0) == ["a"]


def test_what_may_not_wait_for_long_comes_back_in_time_however_often_it_failed() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    for _ in range(30):
        begun = clock.now
        queue.retry("a", most_s=3.0)
        assert ripen(queue, clock, begun + 3.0) == ["a"]
    begun = clock.now
    queue.retry("a")  # of another kind now
    assert ripen(queue, clock, begun + 6.0) == ["a"]


def test_stopping_sends_waiting_workers_home() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = threading.Thread(target=queue.take)
    worker.start()
    queue.stop()
    worker.join(5)
    assert not worker.is_alive()


def test_urgent_keys_go_first_and_are_worked_on_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "c"):
        queue.add(key)
    queue.add_urgent("c")
    queue.add("c")
    queue.add_urgent("z")
    assert [queue.take() for _ in range(4)] == ["c", "z", "a", "b"]
    assert len(queue) == 0


def test_what_became_urgent_while_it_was_worked_on_goes_first_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b"):
        queue.add(key)
    assert queue.take() == "a"
    queue.add("a")
    queue.add_urgent("a")
    queue.done("a")
    assert [queue.take(), queue.take()] == ["a", "b"]
