"""Our own kinds on their way into the model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hasgpu.cluster.custom import Gpu, LatencyProfile, to_gpu, to_profile
from hasgpu.cluster.errors import ClusterError

GPU = {
    "metadata": {"name": "gpu-0"},
    "spec": {
        "node": "n1",
        "uuid": "GPU-0",
        "product": "Emulated-80SM",
        "memory": "16Gi",
        "smCount": 80,
        "smStep": 2,
        "mpsClientLimit": 48,
    },
    "status": {
        "conditions": [{"type": "Healthy", "status": "True"}, {"type": "MPSReady", "status": "False"}],
        "agentAddress": "10.0.0.1:9401",
    },
}
PROFILE = {
    "metadata": {"name": "resnet50", "namespace": "default"},
    "spec": {
        "model": "resnet50",
        "memory": "2Gi",
        "measurements": [
            {
                "gpuProduct": "Tesla-V100-SXM2-16GB",
                "gate": "gpu-time",
                "window": "40ms",
                "cells": [{"batch": 1, "sm": 100, "quota": 100, "latencyMs": 20.6}],
            }
        ],
    },
}


def changed(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copied = msgspec.json.decode(msgspec.json.encode(body))
    *parents, last = path.split(".")
    target = copied
    for part in parents:
        target = target[int(part)] if part.isdigit() else target[part]
    target[last] = value
    return dict(copied)


def test_a_gpu_object_becomes_a_gpu() -> None:
    gpu = to_gpu(msgspec.convert(GPU, Gpu))
    assert (gpu.uuid, gpu.node, gpu.memory_bytes, gpu.sm_count, gpu.sm_step) == ("GPU-0", "n1", 16 << 30, 80, 2)
    assert (gpu.healthy, gpu.mps_ready, gpu.agent_address) == (True, False, "10.0.0.1:9401")


def test_a_gpu_without_a_status_is_neither_healthy_nor_reachable() -> None:
    gpu = to_gpu(msgspec.convert({**GPU, "status": {}}, Gpu))
    assert (gpu.healthy, gpu.mps_ready, gpu.agent_address) == (False, False, "")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("spec.memory", "lots", "GPU gpu-0: spec.memory: not a Kubernetes", id="memory is no quantity"),
        pytest.param("spec.memory", "0", "spec.memory must be above 0", id="a GPU without memory is none"),
        pytest.param("spec.smStep", 0, "spec.smStep must be at least 1, was: 0", id="SMs come in groups"),
    ],
)
def test_a_gpu_that_makes_no_sense_is_refused_by_field(path: str, value: object, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        to_gpu(msgspec.convert(changed(GPU, path, value), Gpu))


def test_a_profile_object_becomes_a_profile() -> None:
    profile = to_profile(msgspec.convert(PROFILE, LatencyProfile))
    assert (profile.namespace, profile.name, profile.memory_bytes) == ("default", "resnet50", 2 << 30)
    (measurement,) = profile.measurements
    assert (measurement.gate, measurement.window_ms) == ("gpu-time", 40.0)
    assert measurement.cells[0].latency_ms == 20.6


def test_a_learned_profile_with_an_empty_spec_is_a_profile_that_knows_nothing() -> None:
    profile = to_profile(msgspec.convert({"metadata": {"name": "x", "namespace": "d"}, "spec": {}}, LatencyProfile))
    assert (profile.measurements, profile.memory_bytes) == ((), None)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("gate", "both", "gate must be gpu-time or launch, was: 'both'", id="there are two gates"),
        pytest.param("window", "soon", "window: not a duration: 'soon'", id="a window is a duration"),
        pytest.param("window", "0", "window must be above 0", id="a window takes time"),
        pytest.param("cells.0.sm", 101, r"cells\[0\].sm must be 1..100, was: 101", id="there are 100 % of SMs"),
        pytest.param("cells.0.quota", 0, r"cells\[0\].quota must be 1..100, was: 0", id="no quota, no latency"),
        pytest.param("cells.0.latencyMs", 0, r"cells\[0\].latencyMs must be above 0", id="nothing is instant"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_by_field(path: str, value: object, message: str) -> None:
    body = changed(PROFILE, f"spec.measurements.0.{path}", value)
    with pytest.raises(ClusterError, match=message):
        to_profile(msgspec.convert(body, LatencyProfile))
