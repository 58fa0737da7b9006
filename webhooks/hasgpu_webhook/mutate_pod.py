"""The pod path: a pod of a GPU revision gets the sidecar, the shim, its volumes and the placement gate. Pure.

Indexes are those of the object read, and only appending or replacing operations are written, so none goes stale.
A second application, also to an object that the API server has defaulted meanwhile, yields no operations.
"""

from __future__ import annotations

import re

import msgspec
from hasgpu.model import annotations as keys
from hasgpu.model.intent import IntentError, opted_in, parse_intent

from .injection import GATE, GPU_TOLERATION, NO_DEVICE, gpu_environment, mounts, sidecar, volumes
from .objects import Container, EnvVar, JsonObject, Pod
from .patch import Patch, Path, covers
from .reserved import DEFAULT_CONTAINER, QUEUE_PROXY, SHIM
from .surroundings import Injection
from .verdict import Verdict

_ANNOTATIONS = ("metadata", "annotations")
_PRELOAD = "LD_PRELOAD"
_USERS_PRELOAD = "HASGPU_USER_LD_PRELOAD"
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


def mutate_pod(pod: Pod, injection: Injection, traceparent: str | None) -> Verdict:
    """The verdict on a pod at CREATE; ``traceparent`` is the admit span's, None where nothing is traced."""
    annotations = pod.metadata.annotations or {}
    if not opted_in(annotations):
        return Verdict()
    try:
        asked = {key: value for key, value in annotations.items() if not key.startswith(keys.SLICE_PREFIX)}
        intent = parse_intent(asked, (pod.metadata.labels or {}).get(keys.SERVICE_LABEL, "unnamed"))
    except IntentError as error:
        return Verdict(problems=error.problems)
    on_gpu = intent.gpu_containers or _serving_container(pod)
    problems = _problems(pod, on_gpu)
    if problems:
        return Verdict(problems=tuple(problems))
    patch = Patch()
    for index, container in enumerate(pod.spec.containers):
        path: Path = ("spec", "containers", index)
        if container.name in on_gpu:
            _give_gpu(patch, path, container)
        else:
            _set_env(patch, path, container, [NO_DEVICE])
    for index, starter in enumerate(pod.spec.starters):
        if starter.name != keys.SIDECAR_CONTAINER:
            _set_env(patch, ("spec", "initContainers", index), starter, [NO_DEVICE])
    _quicken_readiness(patch, pod)
    _equip(patch, pod, injection)
    _write_trace(patch, annotations, traceparent)
    return Verdict(operations=tuple(patch.operations))


def _serving_container(pod: Pod) -> tuple[str, ...]:
    """The one Knative routes requests to: it says which in an annotation, else it is the first of the user's."""
    users = [container.name for container in pod.spec.containers if container.name != QUEUE_PROXY]
    named = (pod.metadata.annotations or {}).get(DEFAULT_CONTAINER)
    return (named,) if named in users else tuple(users[:1])


def _problems(pod: Pod, on_gpu: tuple[str, ...]) -> list[str]:
    names = [container.name for container in pod.spec.containers]
    problems = [
        f"{keys.GPU_CONTAINERS}={','.join(on_gpu)!r} is not allowed: there is no container {name!r},"
        f" only {', '.join(names)}"
        for name in on_gpu
        if name not in names
    ]
    for container in pod.spec.containers:
        ours = {str(mount["mountPath"]): str(mount["name"]) for mount in mounts()} if container.name in on_gpu else {}
        problems += [
            f"container {container.name!r} mounts {mount.mount_path}: the place is reserved for hasgpu"
            for mount in container.volume_mounts or ()
            if ours.get(mount.mount_path, mount.name) != mount.name
        ]
    return problems


def _give_gpu(patch: Patch, path: Path, container: Container) -> None:
    _set_env(patch, path, container, gpu_environment())
    _preload(patch, path, container)
    present = container.volume_mounts
    taken = {mount.mount_path for mount in present or ()}
    for mount in mounts():
        if mount["mountPath"] not in taken:
            patch.append((*path, "volumeMounts"), present, mount)


def _preload(patch: Patch, path: Path, container: Container) -> None:
    """LD_PRELOAD with the shim in front; what the container's own spec preloads is kept behind it."""
    env = container.env or []
    index = max((index for index, variable in enumerate(env) if variable.name == _PRELOAD), default=None)
    if index is None:
        patch.append((*path, "env"), container.env, {"name": _PRELOAD, "value": SHIM})
    elif env[index].value_from is not None:
        # A reference only reaches what stands before it, so the user's own goes where it was and ours behind it.
        patch.replace((*path, "env", index), {"name": _USERS_PRELOAD, "valueFrom": env[index].value_from})
        patch.append((*path, "env"), env, {"name": _PRELOAD, "value": f"{SHIM}:$({_USERS_PRELOAD})"})
    else:
        own = env[index].value or ""
        if own != SHIM and not own.startswith(f"{SHIM}:"):
            patch.replace((*path, "env", index), {"name": _PRELOAD, "value": f"{SHIM}:{own}" if own else SHIM})


def _set_env(patch: Patch, path: Path, container: Container, wanted: list[JsonObject]) -> None:
    present = container.env
    for variable in wanted:
        places = [index for index, found in enumerate(present or ()) if found.name == variable["name"]]
        for index in places:
            if not covers(_plain(present[index]) if present else None, variable):
                patch.replace((*path, "env", index), variable)
        if not places:
            patch.append((*path, "env"), present, variable)


def _plain(variable: EnvVar) -> JsonObject:
    """As JSON, an empty value left out as the API server leaves it out."""
    return {name: value for name, value in msgspec.to_builtins(variable).items() if value is not None}


def _quicken_readiness(patch: Patch, pod: Pod) -> None:
    """queue-proxy's probe asks every 10 s; where its first try comes too early the pod is ready 10 s late."""
    for index, container in enumerate(pod.spec.containers):
        if container.name == QUEUE_PROXY and container.readiness_probe is not None:
            patch.put(("spec", "containers", index, "readinessProbe"), container.readiness_probe, "periodSeconds", 1)


def _equip(patch: Patch, pod: Pod, injection: Injection) -> None:
    spec = pod.spec
    for volume in volumes():
        _place_named(patch, ("spec", "volumes"), spec.volumes, volume)
    _place_named(patch, ("spec", "initContainers"), spec.init_containers, sidecar(injection))
    _place_named(patch, ("spec", "schedulingGates"), spec.scheduling_gates, GATE)
    for toleration in (GPU_TOLERATION, *injection.tolerations):
        if not any(covers(present, dict(toleration)) for present in spec.tolerations or ()):
            patch.append(("spec", "tolerations"), spec.tolerations, dict(toleration))
    for secret in injection.image_pull_secrets:
        _place_named(patch, ("spec", "imagePullSecrets"), spec.image_pull_secrets, {"name": secret})
    if injection.runtime_class and spec.runtime_class_name != injection.runtime_class:
        patch.put(("spec",), {}, "runtimeClassName", injection.runtime_class)


def _place_named(patch: Patch, parent: Path, present: list[JsonObject] | None, wanted: JsonObject) -> None:
    for index, item in enumerate(present or ()):
        if item.get("name") == wanted["name"]:
            if not covers(item, wanted):
                patch.replace((*parent, index), wanted)
            return
    patch.append(parent, present, wanted)


def _write_trace(patch: Patch, annotations: dict[str, str], traceparent: str | None) -> None:
    """Our own first call is known by there being nothing left to inject; its traceparent stays. Any other slice key,
    and any other traceparent, is forged: only the allocator may say what a pod holds.
    """
    ours = not patch.operations and _TRACEPARENT.match(annotations.get(keys.SLICE_TRACEPARENT, "")) is not None
    for key in sorted(annotations):
        if key.startswith(keys.SLICE_PREFIX) and not (key == keys.SLICE_TRACEPARENT and (ours or traceparent)):
            patch.drop(_ANNOTATIONS, key)
    if traceparent and not ours:
        patch.put(_ANNOTATIONS, annotations, keys.SLICE_TRACEPARENT, traceparent)
