"""The simulator's lane held against the gate as built: the same inferences at the same instants end at the same times.

Emulated: shows the gate, not a GPU."""

from __future__ import annotations

import random
import statistics

import pytest
from hasgpu.simulator.lane import GRACE_S, lay

from e2e.dataplane.bench import WINDOW_NS, Bench

POD = "00000000-0000-4000-8000-00000000000a"
SECONDS = 3.0
CLIENT = """
import time
open_context()
module, function, stream = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
image = b"kernel,fixed_us,work_us,plateau_percent\\nk,%d,0,100\\n"
assert cuda.cuModuleLoadData(ctypes.byref(module), image) == 0
assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
assert cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
def infer(kernels):
    begin = time.monotonic_ns()
    for _ in range(kernels):
        assert cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, None, None) == 0
    assert cuda.cuStreamSynchronize(stream) == 0
    return begin, time.monotonic_ns()
for _ in range(3):
    infer(10)
begin, answer = time.monotonic_ns(), []
for at_s in %r:
    time.sleep(max(0.0, begin / 1e9 + at_s - time.monotonic_ns() / 1e9))
    answer.append(infer(%d))
"""


def ends_s(taken: list[tuple[float, float]], work_s: float, quota: int, grace_s: float) -> list[float]:
    """By the lane: when inferences that began when they did are done."""
    lane = lay([("", quota)], WINDOW_NS / 1e9, grace_s)[""]
    saved_s, since_s, found = 0.0, taken[0][0], []
    for begin_s, _ in taken:
        saved_s = lane.saved(saved_s, since_s, begin_s)
        since_s, _, saved_s = lane.run(begin_s, work_s, saved_s)
        found.append(since_s)
    return found


@pytest.mark.parametrize(
    ("quota", "kernel_us", "kernels", "rate"),
    [
        pytest.param(20, 300, 31, 10.0, id="one slot a window, at half of what it can do"),
        pytest.param(50, 500, 51, 8.0, id="two slots a window, inferences of several"),
        pytest.param(60, 400, 18, 40.0, id="half as long as a slot, one upon the other"),
    ],
)
def test_the_gate_ends_inferences_when_the_lane_does(
    bench: Bench, quota: int, kernel_us: int, kernels: int, rate: float
) -> None:
    chance, arrivals = random.Random(1), [0.0]
    while arrivals[-1] < SECONDS:
        arrivals.append(arrivals[-1] + chance.expovariate(rate))
    bench.lay({POD: quota})
    work_s = kernel_us * kernels / 1e6
    for _ in range(3):  # a busy machine delays now and then; the lane never does
        seen = bench.python(POD, CLIENT % (kernel_us, arrivals, kernels))
        taken = [(begin / 1e9, end / 1e9) for begin, end in seen]
        late_ms, late_without_ms = (
            [1e3 * (end - told) for (_, end), told in zip(taken, ends_s(taken, work_s, quota, grace_s), strict=True)]
            for grace_s in (GRACE_S, 0.0)
        )
        # A kernel's length at each slot's end, and what the launches take.
        if abs(statistics.median(late_ms)) < 2.0 and statistics.quantiles(late_ms, n=10)[8] < 5.0:
            break
    else:
        raise AssertionError(f"ms late: {sorted(late_ms)}")
    assert statistics.median(map(abs, late_without_ms)) > 2.0 * statistics.median(map(abs, late_ms))
