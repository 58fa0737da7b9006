"""The GPU objects of this node: what the devices are, and what is going on on them. Writes only what changed.

Conditions and the address are written at once; shares at 5 points' change or when rows change, 10 s apart.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hasgpu.cluster.custom import HEALTHY, MPS_READY
from hasgpu.cluster.errors import Conflict, NotFound
from hasgpu.cluster.patch import merge_patch, put_status
from hasgpu.cluster.paths import GPUS, collection, named
from hasgpu.cluster.session import Session
from hasgpu.decision.timetable import Objection
from hasgpu.device.nvml import Device
from hasgpu.model.quantity import format_bytes
from hasgpu.model.schedule import GpuSchedule

log = logging.getLogger(__name__)

NODE_LABEL = "hasgpu.dev/node"
WITHIN_LEDGER = "WithinLedger"
SHARE_STEP_POINTS, SHARE_EVERY_S = 5, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A condition as found now."""

    holds: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What is laid and what is used of a GPU, in percent of the whole GPU."""

    rows: tuple[tuple[int, int, int, int], ...]
    """(row, SM percent, Σ quota percent, pods)."""
    allocated_percent: int
    measured_percent: int

    @classmethod
    def of(cls, schedule: GpuSchedule | None, busy_fractions: Mapping[str, float]) -> Shares:
        """From the applied table and each pod's busy share of its row."""
        entries = schedule.entries if schedule else ()
        rows = []
        allocated = measured = 0.0
        for row, sm, _ in schedule.rows if schedule else ():
            members = [entry for entry in entries if entry.row == row]
            quota = sum(entry.quota_percent for entry in members)
            rows.append((row, sm, quota, len(members)))
            allocated += sm * quota / 100
            measured += sm * sum(busy_fractions.get(entry.pod_uid, 0.0) for entry in members)
        return cls(rows=tuple(rows), allocated_percent=round(allocated), measured_percent=min(100, round(measured)))


class GpuObject:
    """One device's object; remembers what it wrote last, so that a steady state costs nothing."""

    def __init__(self, session: Session, node: str, device: Device, agent_address: str) -> None:
        self.client_limit = device.mps_client_limit
        self._session, self._node, self._device, self._address = session, node, device, agent_address
        self._path = named(GPUS, "", object_name(device.uuid))
        self._findings: dict[str, Finding] = {}
        self._shares: Shares | None = None
        self._shares_at_s = float("-inf")

    def ensure(self) -> None:
        """Creates the object, or corrects its spec."""
        spec: dict[str, Any] = {
            "node": self._node,
            "uuid": self._device.uuid,
            "product": self._device.product,
            "memory": format_bytes(self._device.memory_bytes),
            "smCount": self._device.sm_count,
            "smStep": self._device.sm_step,
            "mpsClientLimit": self.client_limit,
        }
        body = {
            "apiVersion": "hasgpu.dev/v1alpha1",
            "kind": "GPU",
            "metadata": {"name": object_name(self._device.uuid), "labels": {NODE_LABEL: self._node}},
            "spec": spec,
        }
        try:
            self._session.request("POST", collection(GPUS), body=body)
        except Conflict:
            merge_patch(self._session, self._path, {"spec": spec})
        self._findings, self._shares = {}, None

    def limit_clients(self, most: int) -> None:
        """An administrator's limit, where it is below the device's own."""
        limit = min(most, self._device.mps_client_limit)
        if limit != self.client_limit:
            self.client_limit = limit
            self.ensure()

    def tell(self, findings: Mapping[str, Finding], shares: Shares, now_s: float) -> None:
        """Writes what differs enough from what was written last; makes the object again where somebody deleted it."""
        if not self._worth_telling(findings, shares, now_s):
            return
        try:
            put_status(self._session, self._path, lambda found: self._status(found, findings, shares, now_s))
        except NotFound:
            self.ensure()
            return
        self._findings, self._shares, self._shares_at_s = dict(findings), shares, now_s

    def _worth_telling(self, findings: Mapping[str, Finding], shares: Shares, now_s: float) -> bool:
        if self._shares is None or dict(findings) != self._findings:
            return True
        if now_s - self._shares_at_s < SHARE_EVERY_S:
            return False
        moved = max(
            abs(shares.allocated_percent - self._shares.allocated_percent),
            abs(shares.measured_percent - self._shares.measured_percent),
        )
        return shares.rows != self._shares.rows or moved >= SHARE_STEP_POINTS

    def _status(
        self, found: dict[str, Any], findings: Mapping[str, Finding], shares: Shares, now_s: float
    ) -> dict[str, Any]:
        before = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or ()}
        return {
            "agentAddress": self._address,
            "conditions": [_condition(kind, each, before.get(kind), now_s) for kind, each in findings.items()],
            "rows": [{"row": row, "sm": sm, "quota": quota, "pods": pods} for row, sm, quota, pods in shares.rows],
            "pods": sum(pods for _, _, _, pods in shares.rows),
            "allocatedPercent": shares.allocated_percent,
            "measuredPercent": shares.measured_percent,
        }


def disown(session: Session, node: str, uuids: Collection[str], now_s: float) -> None:
    """Takes GPU objects of this node whose device is not here any more out of use."""
    missing = unknown("Missing", f"NVML does not list it on node {node}")
    conditions = [_condition(kind, finding, None, now_s) for kind, finding in missing.items()]

    def out_of_use(found: dict[str, Any]) -> dict[str, Any]:
        return {**found.get("status", {}), "conditions": conditions}

    listed = session.get(collection(GPUS), dict, query={"labelSelector": f"{NODE_LABEL}={node}"})
    for item in listed.get("items", []):
        if item["spec"]["uuid"] not in uuids:
            put_status(session, named(GPUS, "", item["metadata"]["name"]), out_of_use)


def object_name(uuid: str) -> str:
    """A GPU's UUID as a Kubernetes name."""
    return uuid.lower()


def ledger_finding(objections: Collection[Objection]) -> Finding:
    """Whether all that the ledger says of a GPU could be laid."""
    if not objections:
        return Finding(holds=True, reason="AllLaid")
    said = "; ".join(sorted(f"row {each.row}, pod {each.pod_uid}: {each.why}" for each in objections))
    return Finding(holds=False, reason="NotAllLaid", message=said[:1024])


def unknown(reason: str, message: str) -> dict[str, Finding]:
    """Both conditions False: nothing is placed on what we can't see."""
    return {kind: Finding(holds=False, reason=reason, message=message) for kind in (HEALTHY, MPS_READY)}


def _condition(kind: str, finding: Finding, before: dict[str, Any] | None, now_s: float) -> dict[str, Any]:
    status = "True" if finding.holds else "False"
    since = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if before and before.get("status") == status:
        since = before.get("lastTransitionTime", since)
    return {
        "type": kind,
        "status": status,
        "reason": finding.reason,
        "message": finding.message,
        "lastTransitionTime": since,
    }
