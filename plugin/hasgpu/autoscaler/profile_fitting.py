"""Process autoscaler: fits changed profiles, keeps what traffic taught and loads were. On the leader; writes them.

A thread of its own, since a fit takes a second. A broken profile keeps its last good tables and says what is wrong.
A service without a profile gets one of our own, with an empty spec, once its traffic has shown something. No
service owns it: with an owner, cells that a person measured into it later would be deleted with the service.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from hasgpu.cluster.custom import LatencyProfile, to_profile
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.metadata import condition
from hasgpu.cluster.patch import add, json_patch, test
from hasgpu.cluster.paths import LATENCY_PROFILES, collection, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.cluster.session import Session, decode
from hasgpu.model.annotations import LEARNED_LABEL, STATIC_FEATURES
from hasgpu.prediction.learning import ServedWork, from_plain, to_plain
from hasgpu.prediction.table import MOST_BYTES

from .profile_book import MOVED, ProfileKey, served_measurements
from .season_keeping import MOST_SERVICES, idle_slots, merged, season_said, unwritten
from .season_search import Loads, SeasonSearch

log = logging.getLogger(__name__)

FITTED = "Fitted"
SEASON = "Season"
EVERY_S = 60.0
"""Least time between two writes of one profile that nobody changed."""
LEAST_REQUESTS = 50.0
"""Of one SM share, before what they show is written: until the next write a fit made of it stays."""
AGAIN_S = 10.0
"""After a write until our own watch shows it, and after a failure."""
LOADS_A_TURN = 50
"""Five minutes end for all loads at once; a profile that somebody changed is not to wait for them."""
_TURN_S = 1.0
_VERSION = 1

Served = Mapping[str, ServedWork]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one fit."""

    fits: Mapping[str, Any] | None
    """None: the last good ones stay."""
    error: Mapping[str, float] | None
    reason: str
    message: str

    @property
    def fitted(self) -> bool:
        """Whether the profile as it is now is in use."""
        return self.reason in ("Measured", "Served")


class ProfileFitting:
    """``served``, ``loads`` and ``still_leading`` may be called from its thread; ``fit`` answers an order."""

    def __init__(
        self,
        session: Session,
        profiles: Reflector[LatencyProfile],
        served: Callable[[], Mapping[ProfileKey, Served]],
        loads: Callable[[], Mapping[ProfileKey, Loads]],
        still_leading: Callable[[float], bool],
        fit: Callable[[bytes], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session, self._profiles, self._served, self._loads = session, profiles, served, loads
        self._still_leading, self._fit, self._clock = still_leading, fit, clock
        self._last: dict[ProfileKey, tuple[int, float]] = {}
        """Generation and time of the last attempt."""
        self._search = SeasonSearch(fit)
        self._rested: dict[ProfileKey, Loads] = {}
        """Loads of which nothing is to be written."""
        self._nothing_new: dict[ProfileKey, tuple[str, Served]] = {}
        """Version of the object, and what traffic has shown beside it that it says already."""
        self._idle_slots, self._loads_written = 1, 0
        self._thread = threading.Thread(target=self._run, name="profile fitting", daemon=True)

    def start(self) -> None:
        """Begins; it rests while this replica does not lead."""
        self._thread.start()

    def turn(self, now: float) -> None:
        """Fits and writes what is due."""
        there = {(each.metadata.namespace, each.metadata.name): each for each in self._profiles.snapshot()}
        # After the objects: what was learnt by one that is deleted between the two is not served any more.
        served, loads = self._served(), self._loads()
        self._idle_slots, self._loads_written = idle_slots(len(loads)), 0
        known = {*there, *served, *loads}
        self._last = {key: each for key, each in self._last.items() if key in known}
        self._rested = {key: each for key, each in self._rested.items() if key in known}
        self._nothing_new = {key: each for key, each in self._nothing_new.items() if key in known}
        self._search.begin_turn()
        for key in sorted(known):
            try:
                self._one(key, there.get(key), served.get(key, {}), loads.get(key, {}), now)
            except ClusterError as error:
                log.warning("LatencyProfile %s/%s: not written: %s", *key, error)

    def _run(self) -> None:
        while True:
            time.sleep(_TURN_S)
            try:
                now = self._clock()
                if self._profiles.synced and self._still_leading(now):
                    self.turn(now)
            except Exception:
                # The loop's edge: what one turn brings up must not end all fitting.
                log.exception("profile fitting: a turn failed")

    def _one(self, key: ProfileKey, found: LatencyProfile | None, served: Served, loads: Loads, now: float) -> None:
        generation, (tried, at_s) = _generation(found), self._last.get(key, (-1, -math.inf))
        learned = found.status.learned if found is not None else None
        changed = found is not None and found.status.observed_generation != generation
        due = changed and (tried != generation or now - at_s >= AGAIN_S)
        taught = now - at_s >= EVERY_S and self._taught(key, found, served)
        recorded = now - at_s >= EVERY_S and self._recorded(key, learned, loads, now)
        if not (due or taught or recorded):
            return
        self._last[key] = (generation, now)
        if found is None:
            found = self._create(key)
            log.info("LatencyProfile %s/%s: made for what its service's traffic shows", *key)
        # Small news are not written beside a load: they would never add up to something that is worth a fit.
        served = {**_kept(found), **(served if changed or taught else {})}
        refit = changed or (taught and not found.spec.measurements)
        outcome = self._outcome(found, served, changed=refit)
        sought = self._search.due(key, found.status.learned, loads, now)
        seasons, problem = self._search.ask(key, sought, now) if sought else ({}, "")
        if self._still_leading(self._clock()):
            kept = merged(found.status.learned, loads, seasons)
            left_out = max(0, len(loads) - MOST_SERVICES)
            status = status_of(found, outcome, served, kept, now, season_problem=problem, left_out=left_out)
            self._write(found, status)

    def _taught(self, key: ProfileKey, found: LatencyProfile | None, served: Served) -> bool:
        """Whether traffic has shown something new; asked each second, and to read an object costs 20 us."""
        seen = (found.metadata.resource_version if found is not None else "", dict(served))
        if self._nothing_new.get(key) == seen:
            return False
        if moved(found.status.learned if found is not None else None, served):
            return True
        self._nothing_new[key] = seen
        return False

    def _recorded(self, key: ProfileKey, learned: Mapping[str, Any] | None, loads: Loads, now: float) -> bool:
        """Whether loads, or a day in them, are to be written; asked each second, and they change in five minutes."""
        if self._rested.get(key) == loads or self._loads_written >= LOADS_A_TURN:
            return False
        if unwritten(learned, loads, self._idle_slots) or self._search.due(key, learned, loads, now):
            self._loads_written += 1
            return True
        if not self._search.asked:
            self._rested[key] = loads
        return False

    def _outcome(self, found: LatencyProfile, served: Served, *, changed: bool) -> Outcome:
        before = condition(found.status.conditions, FITTED)
        if not changed and before is not None:
            return Outcome(fits=None, error=_error(found), reason=before.reason, message=before.message)
        try:
            measured = tuple(each for each in to_profile(found).measurements if each.cells)
            statics = found.metadata.annotations.get(STATIC_FEATURES)
            order = {
                "measurements": measured or served_measurements(served),
                "statics": msgspec.json.decode(statics, type=dict[str, float]) if statics else None,
            }
        except (ClusterError, msgspec.MsgspecError) as error:
            return Outcome(fits=None, error=None, reason="Broken", message=f"{error}; the last good fit stays in use")
        if not order["measurements"]:
            return Outcome(
                fits={}, error=None, reason="NoCells", message="no cell is measured: it is learnt from traffic"
            )
        answer = msgspec.json.decode(self._fit(msgspec.json.encode(order)), type=dict[str, Any])
        if "problem" in answer:
            message = f"{answer['problem']}; the last good fit stays in use"
            return Outcome(fits=None, error=None, reason="NotFitted", message=message)
        count = sum(len(each.cells) for each in measured or served_measurements(served))
        origin = "measured" if measured else "served"
        return Outcome(
            fits=answer["fits"], error=answer.get("error"), reason=origin.title(), message=f"{count} {origin} cells"
        )

    def _create(self, key: ProfileKey) -> LatencyProfile:
        namespace, name = key
        metadata = {"name": name, "namespace": namespace, "labels": {LEARNED_LABEL: "true"}}
        body = {"apiVersion": "hasgpu.dev/v1alpha1", "kind": "LatencyProfile", "metadata": metadata, "spec": {}}
        path = collection(LATENCY_PROFILES, namespace)
        return decode(self._session.request("POST", path, body=body), LatencyProfile)

    def _write(self, found: LatencyProfile, status: Mapping[str, Any]) -> None:
        path = named(LATENCY_PROFILES, found.metadata.namespace, found.metadata.name, "status")
        json_patch(self._session, path, [test("/metadata/uid", found.metadata.uid), add("/status", dict(status))])


def status_of(
    found: LatencyProfile,
    outcome: Outcome,
    served: Served,
    loads: Mapping[str, Any],
    now: float,
    *,
    season_problem: str = "",
    left_out: int = 0,
) -> dict[str, Any]:
    """The whole status as it is to be."""
    learned = found.status.learned or {}
    kept: dict[str, Any] = {
        "version": _VERSION,
        "fits": outcome.fits if outcome.fits is not None else learned.get("fits") or {},
        "served": {product: to_plain(work) for product, work in served.items() if work.shares},
    }
    conditions = [_condition(found, FITTED, outcome.fitted, outcome.reason, outcome.message, now)]
    if loads:
        kept["loads"] = dict(loads)
        known, reason, message = season_said(loads, season_problem, left_out)
        conditions.append(_condition(found, SEASON, known, reason, message, now))
    if len(msgspec.json.encode(kept)) > MOST_BYTES:
        # Only with tens of GPU products: tables can be made again, so the object stays small.
        kept["fits"] = {}
    status: dict[str, Any] = {
        "conditions": conditions,
        "observedGeneration": found.metadata.generation,
        "learned": kept,
    }
    if outcome.error:
        status["error"] = dict(outcome.error)
    return status


def moved(learned: Mapping[str, Any] | None, served: Served) -> bool:
    """Whether traffic has shown something that the object does not say yet."""
    kept = (learned or {}).get("served") or {}
    for product, work in served.items():
        try:
            before = {share.sm_percent: share.log_slot for share in from_plain(kept.get(product, [])).shares}
        except (ValueError, AttributeError):
            before = {}
        for share in work.shares:
            if share.weight >= LEAST_REQUESTS and abs(share.log_slot - before.get(share.sm_percent, math.inf)) >= MOVED:
                return True
    return False


def _kept(found: LatencyProfile) -> Served:
    """What the object says: a new leader's book knows nothing before it was asked for something."""
    kept: dict[str, ServedWork] = {}
    said = (found.status.learned or {}).get("served")
    for product, rows in said.items() if isinstance(said, dict) else ():
        with suppress(ValueError):
            kept[product] = from_plain(rows)
    return kept


def _condition(found: LatencyProfile, type: str, holds: bool, reason: str, message: str, now: float) -> dict[str, Any]:
    before, status = condition(found.status.conditions, type), "True" if holds else "False"
    since = datetime.fromtimestamp(now, UTC)
    if before is not None and before.status == status and before.last_transition_time is not None:
        since = before.last_transition_time
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message[:1024],
        "lastTransitionTime": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "observedGeneration": found.metadata.generation,
    }


def _error(found: LatencyProfile) -> Mapping[str, float] | None:
    error = found.status.error
    return None if error is None else {"medianPercent": error.median_percent, "p90Percent": error.p90_percent}


def _generation(found: LatencyProfile | None) -> int:
    return found.metadata.generation if found is not None else 0
