"""Process autoscaler: the recorded loads of all services, and what their days bring next. Told the time; no writes.

By service, so that a history survives its next revision; what was recorded before, also by another leader, is read from
the LatencyProfile that the service uses, and goes with that object: who deletes it wants to begin anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model import annotations as keys
from hasgpu.model.keys import RevisionKey
from hasgpu.prediction.season import LoadHistory
from hasgpu.settings.store import ConfigStore

from . import revision_spec
from .profile_book import ProfileBook, ProfileKey
from .recorded_load import RecordedLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRevision:
    """A revision, whose service's load it has a part of, and where that is kept."""

    key: RevisionKey
    service: str
    profile: str
    routed: bool
    """Requests may come to it."""

    @classmethod
    def of(cls, pa: PodAutoscaler, profile: str) -> ServiceRevision:
        """A Service's Configuration has its name; a Configuration without Service is one as well."""
        return cls(
            key=RevisionKey(pa.metadata.namespace, pa.metadata.name),
            service=pa.metadata.labels.get(keys.CONFIGURATION_LABEL) or pa.metadata.name,
            profile=profile,
            routed=revision_spec.reachable(pa),
        )


@dataclass(slots=True)
class _Day:
    load: RecordedLoad
    profile: str
    uid: str
    """Of the profile; empty while it does not exist."""


class LoadBook:
    """Used by the thread of the GPU class; ``histories`` by any."""

    def __init__(self, book: ProfileBook, settings: ConfigStore) -> None:
        self._book, self._settings = book, settings
        self._days: dict[tuple[str, str], _Day] = {}
        self._counted: dict[RevisionKey, float] = {}
        """Requests of each revision before the slot that runs."""
        self._left: dict[tuple[str, str], float] = {}
        """Requests in the slot that runs of revisions that are gone."""
        self._service_of: dict[RevisionKey, tuple[str, str]] = {}
        self._parts: dict[RevisionKey, float] = {}
        """Of its service's requests, that each revision gets."""
        self._lock = threading.Lock()
        self._published: list[tuple[ProfileKey, str, str, LoadHistory]] = []
        """Profile, service, the profile's UID where there was one, and what is to be kept there."""

    def clear(self) -> None:
        """Another replica may have recorded meanwhile: begin with what objects say."""
        for each in (self._days, self._counted, self._left, self._service_of, self._parts):
            each.clear()
        with self._lock:
            self._published = []

    def left(self, key: RevisionKey, requests: float) -> None:
        """A revision is gone, after so many requests in all."""
        service = self._service_of.pop(key, None)
        if service is not None:
            self._left[service] = self._left.get(service, 0.0) + requests - self._counted.get(key, 0.0)
        self._counted.pop(key, None)

    def record(self, slot: int, revisions: Iterable[tuple[ServiceRevision, float]], *, known: bool) -> None:
        """Five minutes are over: all revisions, each with its requests in all; ``known``: nothing of it was missed."""
        known = known and self._settings.hasgpu.value.season != "off"
        came, members = dict(self._left), dict[tuple[str, str], list[tuple[ServiceRevision, float]]]()
        for revision, requests in revisions:
            service, new = (revision.key.namespace, revision.service), requests - self._counted.get(revision.key, 0.0)
            came[service] = came.get(service, 0.0) + new
            members.setdefault(service, []).append((revision, new))
            self._counted[revision.key], self._service_of[revision.key] = requests, service
        self._left.clear()
        self._days = {service: day for service, day in self._days.items() if service in members}
        before, self._parts = self._parts, {}
        for service, each in members.items():
            self._parts |= _parts(each, before)
            day = self._day(_serving(each))
            if known:
                day.record(slot, came[service])
        self._publish()

    def awaited_per_s(self, revision: ServiceRevision, now: float, startup_s: float) -> float:
        """Requests/s that the season of its service brings to a revision by the time a new pod would be ready."""
        if self._settings.hasgpu.value.season != "prewarm" or not revision.routed:
            return 0.0
        season = self._book.season(revision.key.namespace, revision.profile, revision.service)
        if season is None:
            return 0.0
        day = self._days.get((revision.key.namespace, revision.service))
        load = day.load if day is not None else self._day(revision)
        return self._parts.get(revision.key, 1.0) * load.awaited_per_s(season, now, startup_s)

    def histories(self) -> Mapping[ProfileKey, Mapping[str, LoadHistory]]:
        """What each profile is to keep, by service; nothing where recording is off, nor of a profile that was deleted
        since: who deletes it wants to begin anew."""
        if self._settings.hasgpu.value.season == "off":
            return {}
        with self._lock:
            published = self._published
        found: dict[ProfileKey, dict[str, LoadHistory]] = {}
        for key, service, uid, history in published:
            if not uid or uid == self._book.uid(*key):
                found.setdefault(key, {})[service] = history
        return found

    def _day(self, revision: ServiceRevision) -> RecordedLoad:
        namespace, service, profile = revision.key.namespace, revision.service, revision.profile
        day, uid = self._days.get((namespace, service)), self._book.uid(namespace, profile)
        if day is None or (day.profile == profile and day.uid and day.uid != uid):
            day = _Day(RecordedLoad(self._book.history(namespace, profile, service)), profile, uid)
            self._days[namespace, service] = day
        day.profile, day.uid = profile, uid
        return day.load

    def _publish(self) -> None:
        published = [
            ((namespace, day.profile), service, day.uid, day.load.history)
            for (namespace, service), day in self._days.items()
            if day.load.history.codes
        ]
        with self._lock:
            self._published = published


def _serving(members: list[tuple[ServiceRevision, float]]) -> ServiceRevision:
    """The newest that requests may come to: its profile keeps the load. Knative numbers revisions by their name."""
    return max((revision for revision, _ in members), key=lambda each: (each.routed, each.key.name))


def _parts(
    members: list[tuple[ServiceRevision, float]], before: Mapping[RevisionKey, float]
) -> dict[RevisionKey, float]:
    """As requests came in this slot; as before where none came; equal ones where none ever did."""
    routed = [(revision.key, requests) for revision, requests in members if revision.routed]
    total = sum(requests for _, requests in routed)
    if total <= 0.0 and all(key in before for key, _ in routed):
        return {key: before[key] for key, _ in routed}
    return {key: requests / total if total > 0.0 else 1.0 / len(routed) for key, requests in routed}
