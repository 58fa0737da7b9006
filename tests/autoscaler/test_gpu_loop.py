"""The GPU class sees leadership first, then load, then time; one bad turn does not end it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from hasgpu.autoscaler.gpu_loop import GpuLoop
from hasgpu.autoscaler.scaling_class import UNKNOWN, Wanted
from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model.decider import DeciderSpec
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from tests.stats.test_wire import stat_of


class Noting:
    """A GPU class that notes its calls and may fail at a tick."""

    activation_times_out = False
    scrapes = False

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.changed = threading.Condition()
        self.failures = 0

    def note(self, call: str) -> None:
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()

    def until(self, call: str, times: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.calls.count(call) >= times, 5), self.calls

    def wanted(self, pa: PodAutoscaler, spec: DeciderSpec, now: float) -> Wanted:
        return UNKNOWN

    def forget(self, key: RevisionKey) -> None:
        """Nothing is kept."""

    def lead(self, leading: bool, now: float) -> None:
        self.note(f"lead {leading}")

    def on_stats(self, messages: Sequence[StatMessage], now: float) -> None:
        self.note(f"stats {len(messages)}")

    def tick(self, now: float) -> float:
        self.note("tick")
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a bad turn")
        return 1.0

    def scaled(self, key: RevisionKey, before: int, after: int) -> None:
        """Nothing is told."""

    def metrics(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        return ()


def test_stats_reach_the_leader_at_once_and_a_follower_never() -> None:
    gpu, woken, leads = Noting(), threading.Event(), [True]
    loop = GpuLoop(gpu, lambda: leads[0], woken)
    loop.start()
    loop.on_stats([stat_of(1), stat_of(2)])
    gpu.until("stats 2")
    assert gpu.calls[0] == "lead True"
    leads[0] = False
    woken.set()
    gpu.until("lead False")
    seen = len(gpu.calls)
    loop.on_stats([stat_of(3)])
    loop.stop()
    assert gpu.calls[seen:] == []


def test_while_it_is_in_doubt_who_leads_load_is_remembered_and_nothing_decided() -> None:
    leads: list[bool | None] = [True]
    gpu, woken = Noting(), threading.Event()
    loop = GpuLoop(gpu, lambda: leads[0], woken)
    loop.start()
    woken.set()
    gpu.until("tick")
    leads[0] = None
    loop.on_stats([stat_of(1)])
    gpu.until("stats 1")
    decided = gpu.calls[: gpu.calls.index("stats 1")].count("tick")
    loop.on_stats([stat_of(2), stat_of(3)])
    gpu.until("stats 2")
    assert gpu.calls.count("tick") == decided
    leads[0] = True
    woken.set()
    loop.stop()
    assert gpu.calls.count("lead True") == 1
    assert "lead False" not in gpu.calls


def test_who_lost_the_lease_and_has_it_again_before_the_next_turn_begins_anew() -> None:
    gpu, woken = Noting(), threading.Event()
    loop = GpuLoop(gpu, lambda: True, woken)
    loop.start()
    woken.set()
    gpu.until("tick")
    loop.lost()
    gpu.until("lead True", times=2)
    loop.stop()
    assert "lead False" not in gpu.calls


def test_a_failed_turn_is_followed_by_another_and_leadership_does_not_begin_anew() -> None:
    gpu, woken = Noting(), threading.Event()
    gpu.failures = 1
    loop = GpuLoop(gpu, lambda: True, woken)
    loop.start()
    woken.set()
    gpu.until("tick")
    loop.on_stats([stat_of(1)])
    gpu.until("stats 1")
    loop.stop()
    assert gpu.calls.count("lead True") == 1
