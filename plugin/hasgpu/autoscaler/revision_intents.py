"""Process autoscaler: from a revision's annotations and its LatencyProfile to what placement and scaling need.

Reads reflectors and settings; keeps computed capacity tables, which depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from hasgpu.decision.placement import SliceWish
from hasgpu.decision.policy import Policy
from hasgpu.model import annotations as keys
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.gpu import Gpu
from hasgpu.model.intent import GpuIntent, IntentError, parse_intent
from hasgpu.model.profile import LatencyProfile as Profile
from hasgpu.prediction.capacity import CapacityTerms, capacity_table
from hasgpu.prediction.lending import lent_table
from hasgpu.settings.store import ConfigStore

from .profile_book import Believed, ProfileBook

UNUSED_S = 600.0
"""A table that nobody asked for so long is dropped: by time and not by number, since a table takes 40 ms to make, and
with one more than are kept each would be made anew at each look."""
_SWEEP_EVERY_S = 60.0
INTENTS_KEPT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionIntent:
    """What a revision asks for, and what is known of its model."""

    namespace: str
    intent: GpuIntent
    profile: Profile | None
    problem: str = ""
    """Why the profile can't be used; empty where it can."""


@dataclass(slots=True)
class _Kept:
    """A table, and what it was made of."""

    believed: Believed
    table: CapacityTable
    used_s: float

    def made_of(self, believed: Believed) -> bool:
        """A new leader reads the same surface again, under a number of its own."""
        same = self.believed.version == believed.version or (
            self.believed.surface == believed.surface and self.believed.from_traffic == believed.from_traffic
        )
        if same:
            self.believed = believed
        return same


class RevisionIntents:
    """Used by one thread."""

    def __init__(self, book: ProfileBook, settings: ConfigStore) -> None:
        self._book, self._settings = book, settings
        self._tables: dict[object, _Kept] = {}
        """By profile, GPU product and what is asked for: revisions that ask alike share one."""
        self._swept_s = 0.0

    def read(self, namespace: str, annotations: Mapping[str, str], labels: Mapping[str, str]) -> RevisionIntent | None:
        """None where the annotations can't be obeyed: the webhook refuses those, so somebody went around it."""
        intent = intent_of(annotations, labels)
        return self.known(namespace, intent) if intent is not None else None

    def known(self, namespace: str, intent: GpuIntent) -> RevisionIntent:
        """What is asked for, with what is known of its model now."""
        profile, problem = self._book.profile(namespace, intent.profile)
        return RevisionIntent(namespace=namespace, intent=intent, profile=profile, problem=problem)

    def wish(
        self,
        read: RevisionIntent,
        gpus: tuple[Gpu, ...],
        policy: Policy,
        now: float,
        *,
        nodes: frozenset[str] | None = None,
    ) -> SliceWish:
        """What a pod of the revision asks for."""
        intent = read.intent
        return SliceWish(
            sm_partition=intent.sm_partition,
            quota=intent.quota,
            memory_bytes=self.memory_bytes(read, policy),
            processes=intent.gpu_processes,
            gpu_product=intent.gpu_product,
            nodes=nodes,
            tables=self._tables_of(read, gpus, now),
        )

    def memory_bytes(self, read: RevisionIntent, policy: Policy) -> int:
        """Device memory of one pod."""
        profiled = read.profile.memory_bytes if read.profile is not None else None
        return read.intent.memory_bytes or profiled or policy.unprofiled_memory_bytes

    def _tables_of(self, read: RevisionIntent, gpus: tuple[Gpu, ...], now: float) -> dict[str, CapacityTable]:
        """By GPU product; empty for fixed scaling, which asks for no prediction."""
        intent = read.intent
        if intent.scaling == "fixed" or intent.slo_latency_s is None:
            return {}
        self._sweep(now)
        tables: dict[str, CapacityTable] = {}
        for gpu in {gpu.product: gpu for gpu in gpus if intent.gpu_product in (None, gpu.product)}.values():
            believed = self._book.believed(read.namespace, intent.profile, gpu.product, now)
            if believed is not None:
                tables[gpu.product] = self._table(read, gpu, believed, now)
        return tables

    def _table(self, read: RevisionIntent, gpu: Gpu, believed: Believed, now: float) -> CapacityTable:
        intent = read.intent
        settings = self._settings.hasgpu.value
        own = (gpu.rounded_up(intent.sm_partition).percent,) if intent.sm_partition else ()
        terms = CapacityTerms(
            slo_latency_s=intent.slo_latency_s or 0.0,
            percentile=intent.slo_percentile,
            batch_size=intent.batch_size,
            overhead_s=settings.overhead_s,
            window_s=settings.window_s,
            margin=settings.interference_percent / 100.0,
        )
        free = settings.capacity_margin_percent
        given = settings.row_percent
        key = (read.namespace, intent.profile, gpu.product, terms, own, free, given)
        kept = self._tables.get(key)
        if kept is None or not kept.made_of(believed):
            table = capacity_table(believed.surface, terms, extra_sm_percents=own, learned=believed.from_traffic)
            table = _with_margin(table if given == 100 else lent_table(table, given), free)
            kept = self._tables[key] = _Kept(believed, table, now)
        kept.used_s = now
        return kept.table

    def _sweep(self, now: float) -> None:
        if 0.0 <= now - self._swept_s < _SWEEP_EVERY_S:
            return
        self._swept_s = now
        self._tables = {key: kept for key, kept in self._tables.items() if now - kept.used_s < UNUSED_S}


def intent_of(annotations: Mapping[str, str], labels: Mapping[str, str]) -> GpuIntent | None:
    """What is asked for; None where it can't be obeyed."""
    wanted = frozenset(item for item in annotations.items() if item[0].startswith(keys.USER_PREFIX))
    return _parsed(wanted, labels.get(keys.SERVICE_LABEL) or "unnamed")


@lru_cache(maxsize=INTENTS_KEPT)
def _parsed(wanted: frozenset[tuple[str, str]], service: str) -> GpuIntent | None:
    """Pods that wait are looked at ten times a second, and what they ask for never changes."""
    try:
        return parse_intent(dict(wanted), service)
    except IntentError:
        return None


def _with_margin(table: CapacityTable, free_percent: float) -> CapacityTable:
    part = 1.0 - free_percent / 100.0
    return replace(table, requests_per_s=tuple(tuple(rate * part for rate in line) for line in table.requests_per_s))
