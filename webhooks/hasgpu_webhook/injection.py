"""The things a GPU pod is given: sidecar, volumes, mounts, environment. Pure values; mutate_pod puts them in.

Every per-pod value comes from the pod's own annotations by the downward API, so the same template fits every pod and a
container that restarts reads what holds then.
"""

from __future__ import annotations

from hasgpu.model import annotations as keys

from .objects import JsonObject
from .reserved import LIB_DIR, MPS_DIR, PAGE_DIR, SCHEDULE_DIR, SHM_DIR, SIDECAR_PORT, SIDECAR_PROGRAM, VOLUME_PREFIX
from .surroundings import Injection

# part of the CSI volume -> (where GPU containers see it, whether they may only read)
_PARTS = {
    "page": (PAGE_DIR, False),
    "schedule": (SCHEDULE_DIR, True),
    "mps": (MPS_DIR, False),
    "shm": (SHM_DIR, False),
    "lib": (LIB_DIR, True),
}
_SIDECAR_PARTS = ("page", "schedule", "mps")
_NOBODY = 65532

GPU_TOLERATION: JsonObject = {"key": "nvidia.com/gpu", "operator": "Exists"}
GATE: JsonObject = {"name": keys.SCHEDULING_GATE}
NO_DEVICE: JsonObject = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}


def volumes() -> list[JsonObject]:
    """One inline volume for each part; the node agent publishes them once the pod's slice is live."""
    return [
        {
            "name": VOLUME_PREFIX + part,
            "csi": {"driver": keys.CSI_DRIVER, "volumeAttributes": {"part": part}} | _read_only(read_only),
        }
        for part, (_, read_only) in _PARTS.items()
    ]


def mounts(parts: tuple[str, ...] = tuple(_PARTS)) -> list[JsonObject]:
    """Where those volumes are seen."""
    return [
        {"name": VOLUME_PREFIX + part, "mountPath": path} | _read_only(read_only)
        for part, (path, read_only) in _PARTS.items()
        if part in parts
    ]


def gpu_environment() -> list[JsonObject]:
    """Of a container that sees the GPU; LD_PRELOAD is apart, since it joins what the container has."""
    return [
        *_identity(),
        _annotation("NVIDIA_VISIBLE_DEVICES", keys.SLICE_GPU),
        {"name": "CUDA_MPS_PIPE_DIRECTORY", "value": MPS_DIR},
        _annotation("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", keys.SLICE_SM_PARTITION),
        _annotation("HASGPU_GPU_MEMORY_BYTES", keys.SLICE_GPU_MEMORY),
    ]


def sidecar(injection: Injection) -> JsonObject:
    """The native sidecar: fit for Pod Security ``restricted``; the GPU containers start once it has reached MPS."""
    return {
        "name": keys.SIDECAR_CONTAINER,
        "image": injection.sidecar_image,
        "imagePullPolicy": injection.image_pull_policy,
        "restartPolicy": "Always",
        "env": [
            *_identity(),
            NO_DEVICE,
            {"name": "CUDA_MPS_PIPE_DIRECTORY", "value": MPS_DIR},
            _annotation("HASGPU_SM_PARTITION", keys.SLICE_SM_PARTITION),
        ],
        "ports": [{"name": "hasgpu-metrics", "containerPort": SIDECAR_PORT}],
        # Holds the GPU containers back until MPS answers. A startup probe would say the same a second later, since the
        # kubelet asks by a clock of its own; scale-out waits for every pod's start.
        "lifecycle": {"postStart": {"exec": {"command": [SIDECAR_PROGRAM, "--check"]}}},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": SIDECAR_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        },
        "resources": {
            "requests": {"cpu": "10m", "memory": "8Mi"},
            "limits": {"cpu": "100m", "memory": "32Mi"},
        },
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(_SIDECAR_PARTS),
    }


def _read_only(wanted: bool) -> JsonObject:
    return {"readOnly": True} if wanted else {}


def _identity() -> list[JsonObject]:
    return [
        _field("HASGPU_POD_UID", "metadata.uid"),
        _field("HASGPU_POD_NAME", "metadata.name"),
        _field("HASGPU_POD_NAMESPACE", "metadata.namespace"),
    ]


def _annotation(name: str, key: str) -> JsonObject:
    return _field(name, f"metadata.annotations['{key}']")


def _field(name: str, path: str) -> JsonObject:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
