"""What must hold whatever is killed: no row above 100 %, no slice without a pod. Pure over API objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from hasgpu.model.ledger import parse_slice


def overcommitted(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows whose quotas add up to more than 100 %, and GPUs whose rows do, by the pods' ledger entries."""
    quota: dict[tuple[str, int], int] = defaultdict(int)
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    for pod in pods:
        entry = parse_slice(pod["metadata"].get("annotations") or {})
        if entry is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
            continue
        quota[entry.gpu_uuid, entry.row] += entry.time_quota.percent
        rows[entry.gpu_uuid][entry.row] = max(rows[entry.gpu_uuid].get(entry.row, 0), entry.sm_partition.percent)
    found = [f"row {row} of {gpu} holds {total} % of time" for (gpu, row), total in quota.items() if total > 100]
    found += [f"{gpu} holds {sum(of.values())} % of SMs" for gpu, of in rows.items() if sum(of.values()) > 100]
    return found


def phantoms(gpus: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows whose GPU object counts other pods than the ledger has."""
    ledger: dict[tuple[str, int], int] = defaultdict(int)
    for pod in pods:
        entry = parse_slice(pod["metadata"].get("annotations") or {})
        if entry is not None and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            ledger[entry.gpu_uuid, entry.row] += 1
    counted = {
        (gpu["spec"]["uuid"], row["row"]): row.get("pods", 0)
        for gpu in gpus
        for row in gpu.get("status", {}).get("rows", [])
    }
    return [
        f"row {row} of {gpu}: the GPU object counts {counted.get((gpu, row), 0)} pods,"
        f" the ledger {ledger.get((gpu, row), 0)}"
        for gpu, row in sorted(set(counted) | set(ledger))
        if counted.get((gpu, row), 0) != ledger.get((gpu, row), 0)
    ]
