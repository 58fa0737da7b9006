"""A small world for decisions: GPUs of 80 SMs, pods, tables whose rate is easy to say."""

from __future__ import annotations

from dataclasses import replace

from hasgpu.decision.demand import RevisionLoad
from hasgpu.decision.hybrid import RevisionView
from hasgpu.decision.placement import SliceWish
from hasgpu.model.capacity import CapacityTable
from hasgpu.model.gpu import Gpu, GpuSlice, Placement
from hasgpu.model.keys import PodKey, RevisionKey
from hasgpu.model.units import QuotaBounds, SmPartition, TimeQuota

PRODUCT = "Emulated-V100"
GIB = 1 << 30
REVISION = RevisionKey("ns", "classify-00001")
OTHER = RevisionKey("ns", "detect-00001")


def gpu(name: str = "gpu-a", **changes: object) -> Gpu:
    """A healthy GPU; ``changes`` are fields of it."""
    found = Gpu(
        uuid=name,
        node="node-1",
        product=PRODUCT,
        memory_bytes=16 * GIB,
        sm_count=80,
        sm_step=2,
        mps_client_limit=48,
        healthy=True,
        mps_ready=True,
        agent_address="10.0.0.1:9444",
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def table(requests_per_s: float = 40.0) -> CapacityTable:
    """A rate that is proportional to SM x quota: ``requests_per_s`` at the whole GPU."""
    sms = tuple(range(5, 101, 5))
    rates = tuple(tuple(requests_per_s * sm * q / 1e4 if q >= 5 else 0.0 for q in range(101)) for sm in sms)
    latencies = tuple(tuple(1.0 for _ in range(101)) for _ in sms)
    return CapacityTable(sm_percents=sms, requests_per_s=rates, latency_s=latencies)


def bounds(low: int = 5, high: int = 100) -> QuotaBounds:
    return QuotaBounds(low=TimeQuota(low), high=TimeQuota(high))


def wish(**changes: object) -> SliceWish:
    """Any SM share, quota 5-100 %, 1 GiB, on any node, with the proportional table."""
    found = SliceWish(
        sm_partition=None,
        quota=bounds(),
        memory_bytes=GIB,
        processes=1,
        gpu_product=None,
        nodes=None,
        tables={PRODUCT: table()},
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def pod(
    name: str = "pod-1",
    *,
    revision: RevisionKey = REVISION,
    gpu_uuid: str = "gpu-a",
    row: int = 0,
    sm: int = 20,
    quota: int = 20,
    applied: int | None = None,
    ready: bool = True,
    terminating: bool = False,
) -> Placement:
    """A placed pod; ``applied`` is a quota that the agent still enforces, none where all is acknowledged."""
    entry = GpuSlice(
        gpu_uuid=gpu_uuid,
        row=row,
        sm_partition=SmPartition(sm),
        time_quota=TimeQuota(quota),
        memory_bytes=GIB,
        generation=2,
    )
    return Placement(
        pod=PodKey("ns", name, f"uid-{name}"),
        revision=revision,
        slice=entry,
        ready=ready,
        terminating=terminating,
        applied_generation=2 if applied is None else 1,
        applied_quota_percent=quota if applied is None else applied,
    )


def load(now: float = 0.0, later: float | None = None, *, in_flight: float = 0.0, idle_s: float = 0.0) -> RevisionLoad:
    return RevisionLoad(
        known=True,
        soon_requests_per_s=now,
        startup_requests_per_s=now if later is None else later,
        in_flight=in_flight,
        active=in_flight > 0.0 or now > 0.0,
        idle_s=idle_s,
    )


def view(*placements: Placement, **changes: object) -> RevisionView:
    """A revision with these pods, no load, an SLO of 200 ms."""
    found = RevisionView(
        key=REVISION,
        wish=wish(),
        slo_latency_s=0.2,
        load=load(),
        placements=placements,
        plans=(),
        replicas=len(placements),
    )
    return replace(found, **changes)  # type: ignore[arg-type]
