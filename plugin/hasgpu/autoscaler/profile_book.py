"""Process autoscaler: what is believed of each profile's model: fitted tables, measured cells, own traffic. No writes.

The fitter's table comes first, last good while a changed profile is not fitted; then the cells as they are; then
another GPU product's; then what own traffic showed. Whatever it is, traffic corrects it. The loads of the services that
use it are kept there too: those of before, and the day that the fitter found in each.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hasgpu.cluster.custom import LatencyProfile, to_profile
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.reflector import Reflector
from hasgpu.model.profile import LatencyProfile as Profile
from hasgpu.model.profile import Measurement
from hasgpu.prediction.learning import ServedWork, from_plain, healed
from hasgpu.prediction.season import LoadHistory, Season
from hasgpu.prediction.surface import Surface, fit_surface
from hasgpu.prediction.table import to_surface

from .season_keeping import kept_history, kept_loads, kept_season
from .work_meter import WINDOW_REQUESTS, WorkSample

Floats = NDArray[np.float64]
ProfileKey = tuple[str, str]
"""Namespace and name."""

MOVED = 0.05
"""In logarithms: a lesser correction is not worth new capacity tables."""
LOOK_AGAIN_S = 30.0
"""What was learnt fades also where nothing new comes."""
_PROBES = (5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0)
_FAR_OFF = 0.5
_TRAFFIC_WINDOW_MS = 40.0
_NOTHING_SERVED = ServedWork()
"""One object: what is the same object has not changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A surface, and a number that no other has: what is computed of it may be kept by that."""

    surface: Surface
    from_traffic: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One version of an object."""

    uid: str
    resource_version: str
    profile: Profile | None
    problem: str
    fits: Mapping[str, Surface]
    served: Mapping[str, ServedWork]
    seasons: Mapping[str, Season]
    """By service, as the fitter found them."""


@dataclass(slots=True)
class _Learnt:
    """What traffic showed, by GPU product. It goes with its object: who deletes that wants to begin anew."""

    uid: str = ""
    """Of the object; empty where there was none yet."""
    by_product: dict[str, ServedWork] = field(default_factory=dict)


@dataclass(slots=True)
class _Healing:
    """The last correction of one profile on one product."""

    read: _Read | None
    base: Surface
    logs: Floats
    believed: Believed
    served: ServedWork
    looked_s: float


class ProfileBook:
    """Used by the thread of the GPU class; ``served`` by any."""

    def __init__(self, profiles: Reflector[LatencyProfile]) -> None:
        self._profiles = profiles
        self._read: dict[ProfileKey, _Read] = {}
        self._healings: dict[tuple[ProfileKey, str], _Healing] = {}
        self._versions = 0
        self._lock = threading.Lock()
        self._learnt: dict[ProfileKey, _Learnt] = {}

    def clear(self) -> None:
        """Another replica may have learnt meanwhile: begin with what objects say."""
        self._read.clear()
        self._healings.clear()
        with self._lock:
            self._learnt.clear()

    def keep_only(self, used: Set[ProfileKey]) -> None:
        """Of profiles that no service uses nothing is remembered: what their objects keep is read when one does."""
        with self._lock:
            known = {*self._read, *self._learnt}
        for key in known - used:
            self._forget(key)

    def profile(self, namespace: str, name: str) -> tuple[Profile | None, str]:
        """The profile, the last good one where it is broken now, and what is wrong with it."""
        read = self._newest(namespace, name)
        if read is None:
            return None, f"LatencyProfile {namespace}/{name} does not exist"
        return read.profile, read.problem

    def season(self, namespace: str, name: str, service: str) -> Season | None:
        """The day of a service's load, the last good one where the object's is broken now; None where there is none."""
        read = self._newest(namespace, name)
        return read.seasons.get(service) if read is not None else None

    def history(self, namespace: str, name: str, service: str) -> LoadHistory | None:
        """What the object keeps of a service's load, whoever recorded it; None where it keeps nothing of use."""
        found = self._profiles.get(namespace, name)
        return kept_history(kept_loads(found.status.learned).get(service)) if found is not None else None

    def uid(self, namespace: str, name: str) -> str:
        """Of the object; empty where there is none."""
        return self._uid((namespace, name))

    def observe(self, namespace: str, name: str, sample: WorkSample, now: float) -> None:
        """Learns from traffic."""
        self._newest(namespace, name)
        with self._lock:
            by_product = self._learnt.setdefault((namespace, name), _Learnt()).by_product
            by_product[sample.product] = by_product.get(sample.product, ServedWork()).observed(
                sample.sm_percent,
                sample.work_s,
                sample.requests,
                now,
                most_s=sample.most_s,
                overloaded=sample.overloaded,
            )

    def served(self) -> dict[ProfileKey, dict[str, ServedWork]]:
        """What traffic has shown, by profile and GPU product; not what it showed before an object was deleted."""
        with self._lock:
            known = {key: (learnt.uid, dict(learnt.by_product)) for key, learnt in self._learnt.items()}
        return {key: work for key, (uid, work) in known.items() if not uid or uid == self._uid(key)}

    def believed(self, namespace: str, name: str, product: str, now: float) -> Believed | None:
        """What to predict with on a GPU product; None where nothing at all is known."""
        key = (namespace, name)
        read = self._newest(namespace, name)
        served = self._served_of(key).get(product, _NOTHING_SERVED)
        before = self._healings.get((key, product))
        unchanged = before is not None and before.read is read and before.served is served
        if before is not None and unchanged and now - before.looked_s < LOOK_AGAIN_S:
            return before.believed
        base, from_traffic = _base(read, product, served, before)
        if base is None:
            return None
        logs = served.log_factors(base, _PROBES, now)
        if before is not None and before.base is base and float(np.abs(logs - before.logs).max()) < MOVED:
            before.read, before.served, before.looked_s = read, served, now
            return before.believed
        self._versions += 1
        believed = Believed(surface=healed(base, served, now), from_traffic=from_traffic, version=self._versions)
        self._healings[key, product] = _Healing(
            read=read, base=base, logs=logs, believed=believed, served=served, looked_s=now
        )
        return believed

    def _newest(self, namespace: str, name: str) -> _Read | None:
        key = (namespace, name)
        found = self._profiles.get(namespace, name)
        before = self._read.get(key)
        if before is not None and (found is None or found.metadata.uid != before.uid):
            self._forget(key)
            before = None
        if found is None:
            return None
        if before is None or before.resource_version != found.metadata.resource_version:
            self._read[key] = _read(found, before)
            with self._lock:
                learnt = self._learnt.setdefault(key, _Learnt())
                learnt.uid = found.metadata.uid
                for product, served in self._read[key].served.items():
                    learnt.by_product.setdefault(product, served)
        return self._read[key]

    def _forget(self, key: ProfileKey) -> None:
        self._read.pop(key, None)
        self._healings = {each: healing for each, healing in self._healings.items() if each[0] != key}
        with self._lock:
            self._learnt.pop(key, None)

    def _uid(self, key: ProfileKey) -> str:
        found = self._profiles.get(*key)
        return found.metadata.uid if found is not None else ""

    def _served_of(self, key: ProfileKey) -> Mapping[str, ServedWork]:
        with self._lock:
            learnt = self._learnt.get(key)
            return dict(learnt.by_product) if learnt is not None else {}


def served_measurements(served: Mapping[str, ServedWork]) -> tuple[Measurement, ...]:
    """What traffic showed, as if somebody had measured it."""
    return tuple(
        Measurement(gpu_product=product, gate="gpu-time", window_ms=_TRAFFIC_WINDOW_MS, cells=work.cells())
        for product, work in sorted(served.items())
        if sum(share.weight for share in work.shares) >= 0.5 * WINDOW_REQUESTS
    )


def _base(read: _Read | None, product: str, served: ServedWork, before: _Healing | None) -> tuple[Surface | None, bool]:
    """What traffic is to correct, the same object as long as it is the same; and whether no cell stands behind it."""
    profile = read.profile if read is not None else None
    measured = profile.product_serving(product) if profile is not None else None
    fits = read.fits if read is not None else {}
    # A table of its own serves even where the cells behind it are gone: it may have been made of traffic.
    serving = product if product in fits else measured
    if serving is not None and serving in fits:
        surface: Surface | None = replace(fits[serving], foreign=serving != product)
    elif profile is not None and measured is not None:
        surface = fit_surface(profile, product)
    else:
        return _of_traffic(product, served, before), True
    unchanged = before is not None and surface == before.base
    return (before.base if before is not None and unchanged else surface), measured is None


def _of_traffic(product: str, served: ServedWork, before: _Healing | None) -> Surface | None:
    """Straight from what was served; the one before as long as a correction of it says as much."""
    shown = served_measurements({product: served})
    if before is not None and before.believed.from_traffic and shown:
        known = {round(math.exp(at)) for line in before.base.over_sm for at in line.at}
        shares = [share.sm_percent for share in served.shares]
        off = [served_s / before.base.work_s(1, sm) for sm, served_s in zip(shares, _works_s(served), strict=True)]
        if known == set(shares) and all(abs(math.log(ratio)) < _FAR_OFF for ratio in off):
            return before.base
    profile = Profile(namespace="", name="", model="", memory_bytes=None, measurements=shown)
    return fit_surface(profile, product)


def _works_s(served: ServedWork) -> list[float]:
    return [math.exp(share.log_slot) for share in served.shares]


def _read(found: LatencyProfile, before: _Read | None) -> _Read:
    problem, profile = "", before.profile if before is not None else None
    try:
        profile = to_profile(found)
    except ClusterError as error:
        problem = str(error)
    fits, served = before.fits if before is not None else {}, {}
    seasons, spoilt = _seasons(found, before)
    learned = found.status.learned or {}
    try:
        if "fits" in learned:
            fits = {product: to_surface(table) for product, table in learned["fits"].items()}
        served = {product: from_plain(rows) for product, rows in (learned.get("served") or {}).items()}
    except (ValueError, AttributeError, TypeError) as error:
        # Whoever may write the status may spoil it; what was good before goes on.
        problem = problem or f"LatencyProfile {found.metadata.namespace}/{found.metadata.name}: status.learned: {error}"
    problem = problem or spoilt
    return _Read(
        uid=found.metadata.uid,
        resource_version=found.metadata.resource_version,
        profile=profile,
        problem=problem,
        fits=fits,
        served=served,
        seasons=seasons,
    )


def _seasons(found: LatencyProfile, before: _Read | None) -> tuple[Mapping[str, Season], str]:
    """Of each service its own, so that one that is spoilt leaves the others; and what is wrong with it."""
    seasons, problem = {}, ""
    for service, kept in kept_loads(found.status.learned).items():
        try:
            season = kept_season(kept)
        except ValueError as error:
            name = f"{found.metadata.namespace}/{found.metadata.name}"
            problem = f"LatencyProfile {name}: status.learned.loads.{service}.season: {error}"
            season = before.seasons.get(service) if before is not None else None
        if season is not None:
            seasons[service] = season
    return seasons, problem
