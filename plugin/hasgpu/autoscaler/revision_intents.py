"""Process autoscaler: from a revision's annotations and its LatencyProfile to what placement and scaling need.

Reads reflectors and settings; keeps computed capacity tables, which depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hasgpu.cluster.custom import LatencyProfile, to_profile
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.reflector import Reflector
from hasgpu.decision.placement import SliceWish
from hasgpu.decision.policy import Policy
from hasgpu.model import annotations as keys
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.gpu import Gpu
from hasgpu.model.intent import GpuIntent, IntentError, parse_intent
from hasgpu.model.profile import LatencyProfile as Profile
from hasgpu.prediction.capacity import CapacityTerms, capacity_table
from hasgpu.prediction.surface import Surface, fit_surface, surface_of_work
from hasgpu.settings.store import ConfigStore

TABLES_KEPT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntWork:
    """GPU time of one request as its own traffic showed it."""

    sm_percent: int
    work_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionIntent:
    """What a revision asks for, and what is known of its model."""

    intent: GpuIntent
    profile: Profile | None
    problem: str = ""
    """Why the profile can't be used; empty where it can."""


class RevisionIntents:
    """Used by one thread."""

    def __init__(self, profiles: Reflector[LatencyProfile], settings: ConfigStore) -> None:
        self._profiles = profiles
        self._settings = settings
        self._last_good: dict[tuple[str, str], Profile] = {}
        self._tables: dict[object, CapacityTable] = {}

    def read(self, namespace: str, annotations: Mapping[str, str], labels: Mapping[str, str]) -> RevisionIntent | None:
        """None where the annotations can't be obeyed: the webhook refuses those, so somebody went around it."""
        wanted = {key: value for key, value in annotations.items() if key.startswith(keys.USER_PREFIX)}
        try:
            intent = parse_intent(wanted, labels.get(keys.SERVICE_LABEL) or "unnamed")
        except IntentError:
            return None
        profile, problem = self._profile(namespace, intent.profile)
        return RevisionIntent(intent=intent, profile=profile, problem=problem)

    def wish(
        self,
        read: RevisionIntent,
        gpus: tuple[Gpu, ...],
        policy: Policy,
        *,
        nodes: frozenset[str] | None = None,
        learnt: LearntWork | None = None,
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
            tables=self._tables_of(read, gpus, learnt),
        )

    def _profile(self, namespace: str, name: str) -> tuple[Profile | None, str]:
        found = self._profiles.get(namespace, name)
        if found is None:
            self._last_good.pop((namespace, name), None)
            return None, f"LatencyProfile {namespace}/{name} does not exist"
        try:
            self._last_good[namespace, name] = to_profile(found)
        except ClusterError as error:
            return self._last_good.get((namespace, name)), str(error)
        return self._last_good[namespace, name], ""

    def _tables_of(
        self, read: RevisionIntent, gpus: tuple[Gpu, ...], learnt: LearntWork | None
    ) -> dict[str, CapacityTable]:
        """By GPU product; empty for fixed scaling, which asks for no prediction."""
        intent = read.intent
        if intent.scaling == "fixed" or intent.slo_latency_s is None:
            return {}
        tables: dict[str, CapacityTable] = {}
        for gpu in {gpu.product: gpu for gpu in gpus}.values():
            table = self._table(read, gpu, learnt)
            if table is not None:
                tables[gpu.product] = table
        return tables

    def _table(self, read: RevisionIntent, gpu: Gpu, learnt: LearntWork | None) -> CapacityTable | None:
        settings, intent = self._settings.hasgpu.value, read.intent
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
        key = (read.profile, learnt, terms, own, gpu.product, free)
        if key not in self._tables:
            surface, from_traffic = _surface(read.profile, gpu.product, learnt)
            if surface is None:
                return None
            if len(self._tables) >= TABLES_KEPT:
                self._tables.clear()
            table = capacity_table(surface, terms, extra_sm_percents=own, learned=from_traffic)
            self._tables[key] = _with_margin(table, free)
        return self._tables[key]


def _surface(profile: Profile | None, product: str, learnt: LearntWork | None) -> tuple[Surface | None, bool]:
    surface = fit_surface(profile, product) if profile is not None else None
    if surface is None and learnt is not None:
        return surface_of_work(1, learnt.sm_percent, learnt.work_s), True
    return surface, False


def _with_margin(table: CapacityTable, free_percent: float) -> CapacityTable:
    part = 1.0 - free_percent / 100.0
    return replace(table, requests_per_s=tuple(tuple(rate * part for rate in line) for line in table.requests_per_s))
