"""The demo's figures follow from what was seen."""

from pathlib import Path

from e2e.demo.plot import draw
from e2e.demo.summary import Run, percentile, summarise
from e2e.demo.timeline import PodState, Timeline
from e2e.load.replay import Outcome


def state(at_s: float, pod: str = "a-1", *, quota: int = 20, ready: bool = True, gone: bool = False) -> PodState:
    return PodState(
        at_s=at_s,
        service="a",
        pod=pod,
        sm_percent=50,
        quota_percent=quota,
        ready=ready,
        terminating=False,
        container_id=f"containerd://{pod}",
        restarts=0,
        gone=gone,
    )


def timeline(*states: PodState) -> Timeline:
    line = Timeline()
    for one in states:
        line.add(one)
    return line


def outcome(due_s: float, latency_s: float = 0.05, status: int = 200) -> Outcome:
    return Outcome(function="a", due_s=due_s, latency_s=latency_s, status=status, error="")


def run(line: Timeline, *outcomes: Outcome) -> Run:
    return Run(
        load_s=10.0,
        slo_s={"a": 0.1},
        outcomes=outcomes,
        timeline=line,
        wake=[outcome(0, 1.2)],
        zero_after_s={"a": 14.0},
        kernel_shares=[],
    )


def test_a_state_that_says_nothing_new_is_not_kept() -> None:
    assert len(timeline(state(0), state(1), state(2, quota=40)).states) == 2


def test_allocated_gpus_are_weighted_by_time() -> None:
    line = timeline(state(0, quota=20), state(5, quota=40))
    assert abs(line.mean_allocated("a", 0, 10) - 0.15) < 1e-9


def test_a_change_of_quota_in_the_same_container_is_vertical_and_without_restart() -> None:
    [change] = timeline(state(0), state(5, quota=60)).quota_changes()
    assert (change.old_percent, change.new_percent, change.same_container) == (20, 60, True)


def test_a_second_pod_is_a_scale_out_and_its_end_a_scale_in() -> None:
    line = timeline(state(0), state(4, "a-2"), state(8, "a-2", gone=True))
    changes = summarise(run(line, outcome(1)))["services"]["a"]["changes"]
    assert changes == {"vertical": 0, "out": 1, "in": 1}


def test_late_and_failed_requests_count_against_the_slo() -> None:
    result = summarise(run(timeline(state(0)), outcome(0), outcome(1, 0.3), outcome(2, status=503), outcome(3)))
    assert result["services"]["a"]["share_over_slo"] == 0.5
    assert result["failed"] == 1
    assert not result["checks"]["no failed request"]


def test_a_percentile_is_a_value_that_occurred() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0, 2.0], 99) == 2.0


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(run(timeline(state(0), state(5, quota=60)), outcome(1), outcome(6)), tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_two_pods_that_leave_for_zero_are_no_scale_in() -> None:
    line = timeline(state(0), state(4, "a-2"), state(8.0, "a-2", gone=True), state(8.1, gone=True))
    changes = summarise(run(line, outcome(1)))["services"]["a"]["changes"]
    assert changes == {"vertical": 0, "out": 1, "in": 0}
