"""Who is ended when a GPU's contexts are broken for good, and who never is. Real processes, pages and MPS daemons."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hasgpu.device.mps import MpsControl
from hasgpu.device.pages import PageError, PodPageReport, read_pod_page
from hasgpu.nodeagent.recovery import GRACE_S, RESTART_AFTER_S, Recovery

from e2e.dataplane.bench import DOUBLE, Bench, build

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"
# A program that never leaves, whatever its driver says: it launches at each line it is given.
STUBBORN = """
import sys
open_context()
module, function = ctypes.c_void_p(), ctypes.c_void_p()
assert cuda.cuModuleLoadData(ctypes.byref(module), b"kernel,fixed_us,work_us,plateau_percent\\nk,100,0,100\\n") == 0
assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"k") == 0
def launch():
    cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    print(cuda.cuCtxSynchronize(), flush=True)
launch()
for _ in sys.stdin:
    launch()
answer = 0
"""


@pytest.fixture
def bench() -> Iterator[Bench]:
    build()
    made = Bench()
    made.start_mps()
    made.lay({A: 40, B: 40})
    yield made
    made.close()


def control(bench: Bench) -> MpsControl:
    return MpsControl(pipe_directory=bench.folder, program=str(DOUBLE / "nvidia-cuda-mps-control"))


def recovery(bench: Bench) -> Recovery:
    return Recovery(lambda uid: read_pod_page(str(bench.page_of(uid))), {bench.log.uuid: control(bench)})


def stubborn(bench: Bench, uid: str) -> subprocess.Popen[str]:
    child = bench.start_python(uid, STUBBORN, stdin=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == "0\n"
    return child


def launch(child: subprocess.Popen[str]) -> int:
    assert child.stdin
    assert child.stdout
    child.stdin.write("\n")
    child.stdin.flush()
    return int(child.stdout.readline())


def in_fault(bench: Bench) -> set[str]:
    asked = control(bench)
    return {bench.log.uuid for server in asked.servers() if asked.server_state(server) == "FAULT"}


def both(bench: Bench) -> dict[str, str]:
    return dict.fromkeys((A, B), bench.log.uuid)


def test_after_a_fault_everybody_on_the_gpu_is_ended_and_it_takes_clients_again(bench: Bench) -> None:
    children = [stubborn(bench, uid) for uid in (A, B)]
    subprocess.run([DOUBLE / "emulated-gpu", "fault", "0"], check=True, env=bench.environment)
    assert in_fault(bench) == {bench.log.uuid}
    watching = recovery(bench)
    assert watching.step(both(bench), in_fault(bench), 100.0) == ()
    assert watching.step(both(bench), in_fault(bench), 100.0 + GRACE_S - 0.1) == ()
    ended = watching.step(both(bench), in_fault(bench), 100.0 + GRACE_S)
    assert [(each.pod_uid, each.pids) for each in ended] == [(A, (children[0].pid,)), (B, (children[1].pid,))]
    assert [child.wait(5) for child in children] == [-9, -9]
    bench.wait_for(lambda: not in_fault(bench))
    assert launch(stubborn(bench, A)) == 0


def test_after_a_daemon_was_lost_who_tried_is_ended_and_who_comes_next_is_not(bench: Bench) -> None:
    child, idle = stubborn(bench, A), stubborn(bench, B)
    bench.stop_mps()
    bench.start_mps()
    assert launch(child) in (805, 806, 807)
    watching = recovery(bench)
    watching.step(both(bench), (), 0.0)
    assert [each.pod_uid for each in watching.step(both(bench), (), GRACE_S)] == [A]
    child.wait(5)
    after = stubborn(bench, A)
    for now_s in (GRACE_S + 2, 5 * GRACE_S):
        assert watching.step(both(bench), (), now_s) == ()
    assert (after.poll(), idle.poll()) == (None, None)


def told(bench: Bench, **facts: object) -> PodPageReport:
    page = read_pod_page(str(bench.page_of(A)))
    assert isinstance(page, PodPageReport)
    return replace(page, **facts)  # type: ignore[arg-type]  # by name, as the tests say them


def test_who_mends_itself_in_time_starts_a_new_grace(bench: Bench) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        bench.start(A, "true").wait()
        broken, well = (told(bench, last_error=error, pids=(child.pid,)) for error in (700, 0))
        pages: list[PodPageReport | PageError] = [broken, well, broken]
        watching = Recovery(lambda _: pages[0], {})
        assert watching.step({A: "GPU"}, (), 0.0) == ()
        pages.pop(0)
        watching.step({A: "GPU"}, (), GRACE_S - 1)
        pages.pop(0)
        watching.step({A: "GPU"}, (), GRACE_S)
        assert watching.step({A: "GPU"}, (), 2 * GRACE_S - 1) == ()
        assert [each.pids for each in watching.step({A: "GPU"}, (), 2 * GRACE_S)] == [(child.pid,)]
        assert child.wait(5) == -9


def test_who_is_broken_after_all_others_were_ended_is_ended_after_a_grace_of_its_own(bench: Bench) -> None:
    bench.start(A, "true").wait()
    with subprocess.Popen(["sleep", "60"]) as first, subprocess.Popen(["sleep", "60"]) as second:
        there = [first.pid]
        watching = Recovery(lambda _: told(bench, last_error=700, pids=tuple(there)), {})
        watching.step({A: "GPU"}, (), 0.0)
        assert [each.pids for each in watching.step({A: "GPU"}, (), GRACE_S)] == [(first.pid,)]
        there[:] = [second.pid]
        assert watching.step({A: "GPU"}, (), GRACE_S + 1) == ()
        assert watching.step({A: "GPU"}, (), 2 * GRACE_S) == ()
        assert [each.pids for each in watching.step({A: "GPU"}, (), 2 * GRACE_S + 1)] == [(second.pid,)]


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"last_error": 700, "pids": ()}, id="an error of a process that has gone"),
        pytest.param({"last_error": 700, "pids": (0, -1)}, id="a process outside our pid namespace"),
        pytest.param({"last_error": 0, "pids": (os.getpid(),)}, id="nothing broken"),
    ],
)
def test_nobody_is_ended_for(bench: Bench, facts: dict[str, object]) -> None:
    bench.start(A, "true").wait()
    page = told(bench, **facts)
    watching = Recovery(lambda _: page, {})
    assert [watching.step({A: "GPU"}, (), now_s) for now_s in (0.0, 2 * GRACE_S)] == [(), ()]


def test_an_unreadable_page_names_nobody() -> None:
    watching = Recovery(lambda uid: PageError(uid), {})
    assert [watching.step({A: "GPU"}, ("GPU",), now_s) for now_s in (0.0, 2 * GRACE_S)] == [(), ()]


def test_a_server_that_stays_in_fault_without_clients_is_restarted(bench: Bench) -> None:
    watching, daemon = recovery(bench), bench.mps
    assert daemon is not None
    watching.step({}, {bench.log.uuid}, 0.0)
    watching.step({}, {bench.log.uuid}, RESTART_AFTER_S - 1)
    assert daemon.poll() is None
    watching.step({}, {bench.log.uuid}, RESTART_AFTER_S)
    assert daemon.wait(5) == 0
