"""A row whose idle time the arbiter lends: who gets it, who never does, and what is left when the arbiter dies."""

from __future__ import annotations

import os
import time

from e2e.dataplane.bench import TOLERANCE, WINDOW_NS, Bench

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"


def test_idle_time_goes_to_the_pod_that_waits(bench: Bench) -> None:
    bench.start_arbiter()
    bench.lay({A: 60, B: 40}, policy="borrow")
    bench.run(B, "async", 500, 5)
    assert bench.share(B, 0.7, after_s=0.4) > 0.85
    report = bench.report(B)
    assert report.borrowed_ns > 0.4 * report.busy_ns
    assert report.debt_ns < WINDOW_NS / 4  # what was lent is not owed


def test_strict_rows_are_not_lent(bench: Bench) -> None:
    bench.start_arbiter()
    bench.lay({A: 60, B: 40})
    bench.run(B, "async", 500, 5)
    bench.check_share(B, 0.40)


def test_who_always_wants_gets_its_quota_at_least(bench: Bench) -> None:
    bench.start_mps()
    bench.start_arbiter()
    bench.lay({A: 60, B: 40}, policy="borrow")
    for uid in (A, B):
        bench.run(uid, "async", 500, 6, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40")
    for uid, quota in ((A, 0.60), (B, 0.40)):
        assert any(bench.share(uid, 0.7) > quota - TOLERANCE for _ in range(3))


def test_a_parked_pod_borrows_nothing(bench: Bench) -> None:
    bench.start_arbiter()
    bench.lay({A: 60, B: 0}, policy="borrow")
    bench.run(B, "async", 500, 5)
    time.sleep(0.3)
    assert bench.log.newest == 0


def test_a_killed_arbiter_lends_nothing_on(bench: Bench) -> None:
    arbiter = bench.start_arbiter()
    bench.lay({A: 60, B: 40}, policy="borrow")
    bench.run(B, "async", 500, 5)
    bench.wait_for(lambda: bench.report(B).borrowed_ns > 0)
    arbiter.kill()
    arbiter.wait()
    assert bench.share(B, 0.5) < 0.40 + TOLERANCE


def test_a_pod_that_puts_a_link_in_its_pages_place_is_not_followed(bench: Bench) -> None:
    bench.start_arbiter()
    bench.lay({A: 60, B: 40}, policy="borrow")
    child = bench.run(B, "async", 500, 5)
    child.kill()
    child.wait()
    path = bench.page_of(B)
    path.rename(path.with_name("elsewhere"))
    os.symlink("elsewhere", path)
    bench.lay({A: 60, B: 40}, generation=2, policy="borrow")
    bench.run(B, "async", 500, 5)
    assert bench.share(B, 0.5) < 0.40 + TOLERANCE
