"""Whose turn it is: who asks first, and time alone for all others."""

from __future__ import annotations

from hasgpu.autoscaler.agenda import LATE_S, TICK_S, Agenda
from hasgpu.autoscaler.gpu_world import GpuWorld, RowKey
from hasgpu.model.gpu import GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import SmPartition, TimeQuota

A, B, C = (RevisionKey("ns", name) for name in "abc")


def placement(key: RevisionKey, *, ready: bool = True, quota: int = 30, priority: int = 0) -> Placement:
    entry = GpuSlice(
        gpu_uuid="GPU-a",
        row=0,
        sm_partition=SmPartition(20),
        time_quota=TimeQuota(quota),
        memory_bytes=1,
        generation=1,
    )
    pod = PodKey("ns", f"{key.name}-pod", f"uid-{key.name}")
    return Placement(pod=pod, revision=key, slice=entry, ready=ready, priority=priority)


def world(*placements: Placement) -> GpuWorld:
    return GpuWorld(
        gpus=(),
        products={},
        nodes={},
        pods={},
        placements=placements,
        placed={each.revision: (each,) for each in placements},
        in_row={RowKey("GPU-a", 0): placements},
        pods_of={},
        unbound={},
        waiting=(),
        reports={},
        heard_s={},
    )


ALL = world(placement(A), placement(B), placement(C))


def decided(now: float, seen: GpuWorld = ALL, *, waits: bool = False) -> Agenda:
    agenda = Agenda()
    for key in (A, B, C):
        agenda.decided(key, seen, now, waits=waits)
    return agenda


def test_nobody_is_due_again_within_the_second_and_all_are_after_it() -> None:
    agenda = decided(10.0)
    assert agenda.due((A, B, C), ALL, set(), 10.5) == []
    assert agenda.next_s(10.25) == 0.75
    assert agenda.due((A, B, C), ALL, set(), 10.0 + TICK_S) == [A, B, C]


def test_who_asks_goes_first_and_the_shortest_of_them_before_all() -> None:
    agenda = decided(10.0)
    agenda.ask(B, 1.2)
    agenda.ask(C, 5.0)
    assert agenda.due((A, B, C), ALL, set(), 10.0 + TICK_S) == [C, B, A]
    agenda.decided(C, ALL, 11.0, waits=False)
    assert not agenda.asks(C)


def test_of_those_who_ask_the_most_important_goes_first() -> None:
    seen = world(placement(A), placement(B, priority=10))
    agenda = decided(10.0, seen)
    agenda.ask(A, 9.0)
    agenda.ask(B, 1.1)
    assert agenda.due((A, B), seen, set(), 10.1) == [B, A]


def test_who_is_called_to_make_room_is_due_at_once() -> None:
    assert decided(10.0).due((A, B, C), ALL, {B}, 10.1) == [B]


def test_a_pod_that_became_ready_makes_its_revision_due() -> None:
    agenda = decided(10.0, world(placement(A, ready=False), placement(B)))
    assert agenda.due((A, B), world(placement(A), placement(B)), set(), 10.1) == [A]


def test_a_mates_shrink_makes_due_who_waits_for_it_and_nobody_else() -> None:
    shrunk = world(placement(A, quota=10), placement(B), placement(C))
    assert decided(10.0).due((A, B, C), shrunk, set(), 10.1) == []
    agenda = decided(10.0)
    agenda.decided(B, ALL, 10.0, waits=True)
    assert agenda.due((A, B, C), shrunk, set(), 10.1) == [B]


def test_in_a_flood_of_work_who_waited_long_goes_before_who_is_important() -> None:
    seen = world(placement(A), placement(B, priority=10))
    agenda = decided(10.0, seen)
    agenda.decided(B, seen, 10.0 + LATE_S - TICK_S, waits=False)
    assert agenda.due((A, B), seen, set(), 10.0 + LATE_S) == [A, B]


def test_a_clock_set_back_puts_nobody_off() -> None:
    assert decided(5000.0).due((A, B, C), ALL, set(), 1000.0) == [A, B, C]
