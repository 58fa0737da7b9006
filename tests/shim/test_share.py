"""What a pod gets of its row, judged by the emulated driver's own kernel log. Emulated: shows the gate, not a GPU."""

from __future__ import annotations

import itertools
import statistics
import struct
import time

import pytest
from hasgpu.device import page_layout as at
from hasgpu.device.pages import Policy, SchedulePage

from e2e.dataplane.bench import SHIM, STEPPING_CLOCK, TOLERANCE, WINDOW_NS, Bench, entry

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"


@pytest.mark.parametrize(
    ("mode", "kernel_us", "streams"),
    [
        pytest.param("sync", 500, 1, id="a client that waits for each kernel"),
        pytest.param("async", 500, 1, id="a client that never waits"),
        pytest.param("async", 8000, 1, id="kernels of most of a slot"),
        pytest.param("graph", 100, 1, id="graphs"),
        pytest.param("async", 300, 4, id="four streams"),
    ],
)
def test_a_pod_gets_its_quota_and_no_more(bench: Bench, mode: str, kernel_us: int, streams: int) -> None:
    bench.publish(entry(A, 0, 30))
    bench.run(A, mode, kernel_us, 5, streams)
    bench.check_share(A, 0.30)


GREEN = """
import time
class Resource(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("pad", ctypes.c_ubyte * 92), ("sms", ctypes.c_uint), ("z", ctypes.c_byte * 44))
open_context()
whole, part, groups = Resource(), Resource(), ctypes.c_uint(1)
module, function, description, green, stream = (ctypes.c_void_p() for _ in range(5))
assert cuda.cuModuleLoadData(ctypes.byref(module), b"kernel,fixed_us,work_us,plateau_percent\\nk,500,0,100\\n") == 0
assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
assert cuda.cuDeviceGetDevResource(0, ctypes.byref(whole), 1) == 0
split = (ctypes.byref(part), ctypes.byref(groups), ctypes.byref(whole), None, 0, 40)
assert cuda.cuDevSmResourceSplitByCount(*split) == 0
assert cuda.cuDevResourceGenerateDesc(ctypes.byref(description), ctypes.byref(part), 1) == 0
assert cuda.cuGreenCtxCreate(ctypes.byref(green), description, 0, 1) == 0
assert cuda.cuGreenCtxStreamCreate(ctypes.byref(stream), green, 1, 0) == 0
until = time.monotonic() + 5
while time.monotonic() < until:
    assert cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, None, None) == 0
answer = 0
"""


def test_streams_of_a_green_context_are_gated_and_measured_like_others(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    bench.start_python(A, GREEN)
    bench.wait_for(lambda: bench.log.newest > 100)
    bench.check_share(A, 0.30)
    report = bench.report(A)
    assert report.measured_batches > 5 * report.estimated_batches


def test_the_page_says_what_the_log_says(bench: Bench) -> None:
    bench.publish(entry(A, 0, 50, generation=7))
    bench.run(A, "burst", 200, 5)
    time.sleep(0.2)
    before, start_ns = bench.report(A), time.monotonic_ns()
    time.sleep(0.8)
    after, end_ns = bench.report(A), time.monotonic_ns()
    busy_ns = bench.log.busy_ns(start_ns, end_ns)[A]
    assert after.busy_ns - before.busy_ns == pytest.approx(busy_ns, rel=0.06)
    assert (after.generation, after.processes, after.sm_count) == (7, 1, 80)
    assert after.gated_ns > before.gated_ns


def test_without_the_shim_there_is_no_limit(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    bench.run(A, "async", 500, 5, LD_PRELOAD="", LD_LIBRARY_PATH=str(bench.double))
    assert bench.share(A, 0.5) > 0.9


def test_two_pods_of_a_row_take_turns(bench: Bench) -> None:
    bench.start_mps()
    bench.publish(entry(A, 0, 30), entry(B, 40, 100))
    for uid in (A, B):
        bench.run(uid, "async", 500, 5, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="40")
    start_ns = time.monotonic_ns()
    bench.check_share(A, 0.30)
    bench.check_share(B, 0.60)
    end_ns = time.monotonic_ns()
    kernels = sorted(bench.log.between(start_ns, end_ns), key=lambda kernel: kernel.start_ns)
    overlap_ns = sum(
        max(0, first.end_ns - second.start_ns)
        for first, second in itertools.pairwise(kernels)
        if first.pod != second.pod
    )
    assert overlap_ns / (end_ns - start_ns) < 0.06  # the grace of 2 ms in 40, and a kernel now and then


def test_a_token_row_gives_the_quota_at_any_time(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30), policy="token")
    bench.run(A, "async", 500, 5)
    time.sleep(0.3)
    start_ns = time.monotonic_ns()
    time.sleep(0.8)
    end_ns = time.monotonic_ns()
    assert bench.log.shares(start_ns, end_ns)[A] == pytest.approx(0.30, abs=TOLERANCE)
    outside = [k for k in bench.log.between(start_ns, end_ns) if k.start_ns % WINDOW_NS > 0.5 * WINDOW_NS]
    assert outside


def test_a_full_quota_costs_next_to_nothing(bench: Bench) -> None:
    bench.publish(entry(A, 0, 100))
    bench.run(A, "async", 500, 5)
    assert any(bench.share(A, 0.6) > 0.9 for _ in range(3))


def test_a_change_counts_from_the_next_window(bench: Bench) -> None:
    """The pod's slot jumps between the halves of the window; the log says when the first kernel ran in the new one."""
    bench.publish(entry(A, 0, 40))
    bench.run(A, "async", 200, 6)
    time.sleep(0.3)
    delays_ms = []
    for number in range(8):
        at = 50 if number % 2 == 0 else 0
        published_ns = time.monotonic_ns()
        bench.publish(entry(A, at, at + 40, generation=number + 2))
        time.sleep(0.1)
        kernels = bench.log.between(published_ns, time.monotonic_ns())
        inside = [k for k in kernels if at <= k.start_ns % WINDOW_NS * 100 / WINDOW_NS < at + 40]
        first = min(k.start_ns for k in inside if k.start_ns > published_ns)
        slot_ns = at * WINDOW_NS // 100
        latest_ns = -(-(published_ns + 1_000_000) // WINDOW_NS) * WINDOW_NS + slot_ns
        delays_ms.append((first - latest_ns) / 1e6)
    assert statistics.median(delays_ms) < 5
    assert bench.report(A).generation == 9


def test_a_parked_pod_waits_and_goes_on_when_it_may(bench: Bench) -> None:
    bench.publish(entry(A, 0, 0))
    bench.run(A, "async", 500, 2)
    time.sleep(0.2)
    assert bench.log.newest == 0
    assert bench.report(A).waiting == 1
    raised_ns = time.monotonic_ns()
    bench.publish(entry(A, 0, 50, generation=2))
    bench.wait_for(lambda: bench.log.newest > 0)
    assert time.monotonic_ns() - raised_ns < WINDOW_NS + 200_000_000


def test_a_pod_that_no_table_names_waits_for_the_agent(bench: Bench) -> None:
    bench.publish(entry(B, 0, 50))
    bench.run(A, "async", 500, 2)
    time.sleep(0.1)
    assert bench.log.newest == 0
    bench.publish(entry(B, 0, 50), entry(A, 50, 100))
    bench.wait_for(lambda: bench.log.newest > 0)


def test_a_page_of_another_version_is_none(bench: Bench) -> None:
    def write_version(abi: int) -> None:
        with open(bench.page.path, "r+b") as page:
            page.seek(at.SCHEDULE_ABI[0])
            page.write(struct.pack("<I", abi))

    bench.publish(entry(A, 0, 50))
    write_version(at.ABI + 1)
    bench.run(A, "async", 500, 3)
    time.sleep(0.2)
    assert bench.log.newest == 0
    write_version(at.ABI)
    bench.wait_for(lambda: bench.log.newest > 0)


def test_a_pod_of_many_processes_shares_one_quota(bench: Bench) -> None:
    bench.publish(entry(A, 0, 40))
    for _ in range(3):
        bench.run(A, "async", 500, 5)
    bench.check_share(A, 0.40)
    assert bench.report(A).processes == 3


def test_a_killed_process_leaves_nothing_held(bench: Bench) -> None:
    bench.publish(entry(A, 0, 40), entry(B, 50, 90))
    bench.run(B, "async", 500, 8)
    for number in range(5):
        child = bench.run(A, "async", 500, 5)
        time.sleep(0.02 + 0.007 * number)
        child.kill()
        child.wait()
    bench.run(A, "async", 500, 5)
    bench.check_share(A, 0.40)
    assert bench.report(A).processes == 1
    bench.check_share(B, 0.40)


def test_who_sets_the_days_clock_changes_nothing(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    bench.run(A, "async", 500, 5, LD_PRELOAD=f"{STEPPING_CLOCK}:{SHIM}")
    bench.check_share(A, 0.30)


def expire(bench: Bench, policy: Policy) -> None:
    SchedulePage.create(bench.page.path, bench.log.uuid, expired=policy).close()
    bench.page.renew(valid_for_s=0, now_ns=0)


def test_an_expired_table_opens_the_gate_where_that_is_the_policy(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    expire(bench, "open")
    bench.run(A, "async", 500, 5)
    assert any(bench.share(A, 0.7) > 0.9 for _ in range(3))


def test_an_expired_table_closes_the_gate_where_that_is_the_policy_until_it_is_renewed(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    bench.run(A, "async", 500, 6)
    bench.wait_for(lambda: bench.log.newest)
    expire(bench, "closed")
    assert bench.share(A, 0.3) == 0.0
    bench.page.renew(valid_for_s=60, now_ns=time.monotonic_ns())
    assert bench.share(A, 0.7, after_s=1.1) > 0.25


def test_an_expired_table_is_followed_on(bench: Bench) -> None:
    bench.publish(entry(A, 0, 30))
    bench.page.renew(valid_for_s=0, now_ns=0)
    bench.run(A, "async", 500, 3)
    bench.check_share(A, 0.30)
