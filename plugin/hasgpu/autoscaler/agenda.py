"""Process autoscaler: whose turn it is to be decided. Told of stats, decisions and the time; no I/O.

A revision is decided when a stat asks for more than was decided, when its pods changed or room it waits for may have
come, and once a second: time alone lets quotas fall and pods go. So most work is spread over the second, and what
cannot wait goes before it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from hasgpu.model.gpu import Placement
from hasgpu.model.keys import RevisionKey

from .gpu_world import GpuWorld, RowKey

TICK_S = 1.0
LATE_S = 2.0
"""Decided so long ago, a revision goes before more important ones: in a flood of work nobody is forgotten."""

Basis = tuple[tuple[object, ...], ...]
"""What of the world makes a decision out of date where it changes."""


@dataclass(frozen=True, slots=True)
class _Decided:
    at_s: float
    placements: tuple[Placement, ...]
    basis: Basis
    waits: bool

    def out_of_date(self, world: GpuWorld, key: RevisionKey) -> bool:
        """Whether its pods changed, or the room that it waits for."""
        if self.placements is world.placements_of(key) and not self.waits:
            return False
        return self.basis != _basis(world, key, self.waits)


class Agenda:
    """Used by one thread."""

    def __init__(self) -> None:
        self._asking: dict[RevisionKey, float] = {}
        self._decided: dict[RevisionKey, _Decided] = {}

    def asks(self, key: RevisionKey) -> bool:
        """True where a stat has asked for more than was decided."""
        return key in self._asking

    def ask(self, key: RevisionKey, shortage: float) -> None:
        """A stat shows so many times the load that was decided for."""
        self._asking[key] = max(shortage, self._asking.get(key, 0.0))

    def decided(self, key: RevisionKey, world: GpuWorld, now: float, *, waits: bool) -> None:
        """Its turn is over; ``waits``: for room that somebody else must give first."""
        self._asking.pop(key, None)
        self._decided[key] = _Decided(now, world.placements_of(key), _basis(world, key, waits), waits)

    def due(
        self, ours: Iterable[RevisionKey], world: GpuWorld, called: Container[RevisionKey], now: float
    ) -> list[RevisionKey]:
        """Whose turn it is: who asks or is called to make room, then who was forgotten, then all whose time has come.

        Among them the most important and the shortest first.
        """
        ranked = []
        for key in ours:
            last = self._decided.get(key)
            ago_s = now - last.at_s if last is not None else LATE_S
            shortage = self._asking.get(key, 0.0)
            if shortage or key in called:
                rank = 0
            # A clock that was set back must not put off everybody.
            elif last is None or not 0.0 <= ago_s < LATE_S:
                rank = 1
            elif ago_s >= TICK_S or last.out_of_date(world, key):
                rank = 2
            else:
                continue
            ranked.append(((rank, -_priority(world, key), -shortage, -ago_s), key))
        return [key for _, key in sorted(ranked)]

    def next_s(self, now: float) -> float:
        """Until time alone makes somebody due."""
        return min((last.at_s + TICK_S - now for last in self._decided.values()), default=TICK_S)

    def keep_only(self, ours: Mapping[RevisionKey, object]) -> None:
        """Forgets revisions that are gone."""
        for kept in (self._asking, self._decided):
            for key in kept.keys() - ours.keys():
                del kept[key]

    def clear(self) -> None:
        """Another leads."""
        self._asking.clear()
        self._decided.clear()


def _basis(world: GpuWorld, key: RevisionKey, waits: bool) -> Basis:
    own = world.placements_of(key)
    basis: Basis = tuple((each.pod.uid, each.ready, each.terminating) for each in own)
    if waits:
        mates = (mate for each in own for mate in world.in_row[RowKey(each.slice.gpu_uuid, each.slice.row)])
        basis += tuple((mate.pod.uid, mate.held_quota_percent) for mate in mates)
    return basis


def _priority(world: GpuWorld, key: RevisionKey) -> int:
    placements = world.placements_of(key)
    return max([each.priority for each in placements]) if placements else 0
