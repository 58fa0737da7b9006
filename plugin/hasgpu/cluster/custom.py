"""Adapter cluster: our own kinds (GPU, LatencyProfile) and their way into the model. Errors name field and value."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from hasgpu.model import gpu as model_gpu
from hasgpu.model import profile as model_profile
from hasgpu.model.quantity import parse_bytes, parse_duration_ns

from .errors import ClusterError
from .metadata import Condition, Metadata, is_true

HEALTHY = "Healthy"
MPS_READY = "MPSReady"


class GpuSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a GPU is; written by the node's agent."""

    node: str
    uuid: str
    product: str
    memory: str
    sm_count: int
    sm_step: int = 1
    mps_client_limit: int = 48


class GpuRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A row of a GPU: its SM share, the sum of its pods' quotas, how many pods."""

    row: int
    sm: int
    quota: int
    pods: int


class GpuStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is going on on a GPU; shares are percent of the whole GPU."""

    conditions: tuple[Condition, ...] = ()
    agent_address: str = ""
    rows: tuple[GpuRow, ...] = ()
    allocated_percent: int = 0
    measured_percent: int = 0


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """hasgpu.dev/v1alpha1 GPU."""

    metadata: Metadata
    spec: GpuSpec
    status: GpuStatus = GpuStatus()


class ProfileCell(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One measured point."""

    batch: int
    sm: int
    quota: int
    latency_ms: float


class ProfileMeasurement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Cells of one GPU product under one gate."""

    gpu_product: str
    gate: str = "gpu-time"
    window: str = "40ms"
    cells: tuple[ProfileCell, ...] = ()


class ProfileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model."""

    model: str = ""
    memory: str | int | None = None
    measurements: tuple[ProfileMeasurement, ...] = ()


class ProfileError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the fit is off."""

    median_percent: float = 0.0
    p90_percent: float = 0.0


class ProfileStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the leader's fitter made of it."""

    conditions: tuple[Condition, ...] = ()
    error: ProfileError | None = None
    observed_generation: int = 0
    learned: dict[str, Any] | None = None


class LatencyProfile(msgspec.Struct, frozen=True, kw_only=True):
    """hasgpu.dev/v1alpha1 LatencyProfile."""

    metadata: Metadata
    spec: ProfileSpec = ProfileSpec()
    status: ProfileStatus = ProfileStatus()


def to_gpu(gpu: Gpu) -> model_gpu.Gpu:
    """A GPU object as the allocator sees it; ClusterError where a field makes no sense."""
    name = f"GPU {gpu.metadata.name}"
    for field, value in (("smCount", gpu.spec.sm_count), ("smStep", gpu.spec.sm_step)):
        if value < 1:
            raise ClusterError(f"{name}: spec.{field} must be at least 1, was: {value}")
    return model_gpu.Gpu(
        uuid=gpu.spec.uuid,
        node=gpu.spec.node,
        product=gpu.spec.product,
        memory_bytes=_bytes(f"{name}: spec.memory", gpu.spec.memory),
        sm_count=gpu.spec.sm_count,
        sm_step=gpu.spec.sm_step,
        mps_client_limit=gpu.spec.mps_client_limit,
        healthy=is_true(gpu.status.conditions, HEALTHY),
        mps_ready=is_true(gpu.status.conditions, MPS_READY),
        agent_address=gpu.status.agent_address,
    )


def to_profile(profile: LatencyProfile) -> model_profile.LatencyProfile:
    """A LatencyProfile object as prediction reads it; ClusterError where a field makes no sense."""
    name = f"LatencyProfile {profile.metadata.namespace}/{profile.metadata.name}"
    spec = profile.spec
    return model_profile.LatencyProfile(
        namespace=profile.metadata.namespace,
        name=profile.metadata.name,
        model=spec.model,
        memory_bytes=None if spec.memory is None else _bytes(f"{name}: spec.memory", str(spec.memory)),
        measurements=tuple(
            _measurement(f"{name}: spec.measurements[{index}]", each) for index, each in enumerate(spec.measurements)
        ),
    )


def _measurement(name: str, measurement: ProfileMeasurement) -> model_profile.Measurement:
    if measurement.gate not in ("gpu-time", "launch"):
        raise ClusterError(f"{name}.gate must be gpu-time or launch, was: {measurement.gate!r}")
    try:
        window_ms = parse_duration_ns(measurement.window) / 1e6
    except ValueError as error:
        raise ClusterError(f"{name}.window: {error}") from error
    if window_ms <= 0:
        raise ClusterError(f"{name}.window must be above 0, was: {measurement.window!r}")
    return model_profile.Measurement(
        gpu_product=measurement.gpu_product,
        gate=cast("model_profile.Gate", measurement.gate),  # checked against its two values above
        window_ms=window_ms,
        cells=tuple(_cell(f"{name}.cells[{index}]", cell) for index, cell in enumerate(measurement.cells)),
    )


def _cell(name: str, cell: ProfileCell) -> model_profile.Cell:
    for field, value, low, high in (
        ("batch", cell.batch, 1, 1024),
        ("sm", cell.sm, 1, 100),
        ("quota", cell.quota, 1, 100),
    ):
        if not low <= value <= high:
            raise ClusterError(f"{name}.{field} must be {low}..{high}, was: {value}")
    if not 0 < cell.latency_ms < float("inf"):
        raise ClusterError(f"{name}.latencyMs must be above 0, was: {cell.latency_ms}")
    return model_profile.Cell(
        batch=cell.batch, sm_percent=cell.sm, quota_percent=cell.quota, latency_ms=cell.latency_ms
    )


def _bytes(name: str, text: str) -> int:
    try:
        value = parse_bytes(text)
    except ValueError as error:
        raise ClusterError(f"{name}: {error}") from error
    if value <= 0:
        raise ClusterError(f"{name} must be above 0, was: {text}")
    return value
