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

TABLES_KEPT = 2000
INTENTS_KEPT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionIntent:
    """What a revision asks for, and what is known of its model."""

    namespace: str
    intent: GpuIntent
    profile: Profile | None
    problem: str = ""
    """Why the profile can't be used; empty where it can."""


class RevisionIntents:
    """Used by one thread."""

    def __init__(self, book: ProfileBook, settings: ConfigStore) -> None:
        self._book, self._settings = book, settings
        self._tables: dict[object, CapacityTable] = {}

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
        intent, profile = read.intent, read.profile
        memory = intent.memory_bytes or (profile.memory_bytes if profile else None) or policy.unprofiled_memory_bytes
        return SliceWish(
            sm_partition=intent.sm_partition,
            quota=intent.quota,
            memory_bytes=memory,
            processes=intent.gpu_processes,
            gpu_product=intent.gpu_product,
            nodes=nodes,
            tables=self._tables_of(read, gpus, now),
        )

    def _tables_of(self, read: RevisionIntent, gpus: tuple[Gpu, ...], now: float) -> dict[str, CapacityTable]:
        """By GPU product; empty for fixed scaling, which asks for no prediction."""
        intent = read.intent
        if intent.scaling == "fixed" or intent.slo_latency_s is None:
            return {}
        tables: dict[str, CapacityTable] = {}
        for gpu in {gpu.product: gpu for gpu in gpus}.values():
            believed = self._book.believed(read.namespace, intent.profile, gpu.product, now)
            if believed is not None:
                tables[gpu.product] = self._table(intent, gpu, believed)
        return tables

    def _table(self, intent: GpuIntent, gpu: Gpu, believed: Believed) -> CapacityTable:
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
        key = (believed.version, terms, own, free, given)
        if key not in self._tables:
            if len(self._tables) >= TABLES_KEPT:
                del self._tables[next(iter(self._tables))]
            table = capacity_table(believed.surface, terms, extra_sm_percents=own, learned=believed.from_traffic)
            self._tables[key] = _with_margin(table if given == 100 else lent_table(table, given), free)
        return self._tables[key]


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
