"""Process autoscaler: which Lease a revision of class kpa belongs to, and how the Lease's holder is reached. Pure.

Reference: knative/serving pkg/autoscaler/bucket and knative.dev/pkg/hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hasgpu.model.keys import RevisionKey

STATS_PORT = 8080
_UNIVERSE = 2**11
_START_SALT = "start-angle-salt"


def bucket_names(count: int) -> tuple[str, ...]:
    """The Leases that shard the revisions."""
    return tuple(f"autoscaler-bucket-{index:02d}-of-{count:02d}" for index in range(count))


def owner(names: Sequence[str], key: RevisionKey) -> str:
    """The bucket of a revision; all replicas and Knative's own autoscaler agree on it."""
    return names[0] if len(names) == 1 else _chosen(tuple(sorted(names)), str(key))


def identity(pod_name: str, pod_ip: str) -> str:
    """A Lease's holder, so that others can reach it."""
    return f"{pod_name}_{pod_ip}"


def address(holder: str) -> str | None:
    """The stat server of a holder; None where nobody holds the Lease."""
    _, underscore, ip = holder.rpartition("_")
    if not underscore or not ip:
        return None
    return f"ws://[{ip}]:{STATS_PORT}" if ":" in ip else f"ws://{ip}:{STATS_PORT}"


@lru_cache(maxsize=65536)
def _chosen(names: tuple[str, ...], target: str) -> str:
    """Consistent hashing on a circle of 2048 slots: the first name at or after the target's start."""
    start = _fnv1a(target + _START_SALT) % _UNIVERSE
    slots: dict[int, str] = {}
    for name in names:
        text = name + target
        hashed = _fnv1a(text)
        while hashed % _UNIVERSE in slots:
            text += f"{hashed:x}"
            hashed = _fnv1a(text)
        slots[hashed % _UNIVERSE] = name
    order = sorted(slots)
    return slots[next((slot for slot in order if slot >= start), order[0])]


def _fnv1a(text: str) -> int:
    hashed = 0xCBF29CE484222325
    for byte in text.encode():
        hashed = ((hashed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return hashed
