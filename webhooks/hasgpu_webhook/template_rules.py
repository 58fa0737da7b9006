"""What a revision template may not ask for, each in a sentence that names what to write instead. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from hasgpu.model import annotations as keys
from hasgpu.model.intent import GpuIntent
from hasgpu.model.quantity import format_bytes

from .objects import Container, Template
from .pod_security import restricted_gaps
from .reserved import RESERVED_DIRS, SHM_DIR, SIDECAR_PORT, USER_CONTAINER, VOLUME_PREFIX
from .surroundings import Injection, Surroundings

_CLASS_ADVICE = (
    f'leave it out (hasgpu sets {keys.HAS_CLASS}), or set {keys.SCALING}: "fixed" to keep the class without'
    " vertical scaling"
)


def template_problems(
    template: Template, intent: GpuIntent, namespace: str, surroundings: Surroundings, injection: Injection
) -> list[str]:
    """Every reason why this template cannot become a GPU revision here."""
    return [
        *_class_problems(template, intent),
        *_container_name_problems(template, intent),
        *_device_problems(template),
        *_place_problems(template, injection),
        *_memory_problems(intent, surroundings),
        *_security_problems(template, namespace, surroundings),
    ]


def template_warnings(intent: GpuIntent, surroundings: Surroundings, injection: Injection) -> list[str]:
    """What will keep the service from running or scaling as things are now, though it is no fault of the template."""
    warnings = []
    memory = surroundings.gpu_memory_bytes
    if memory is not None and not memory:
        warnings.append("hasgpu: the cluster has no GPU yet; pods wait until a node reports one")
    elif memory and intent.gpu_product is not None and intent.gpu_product not in memory:
        warnings.append(f"hasgpu: no GPU is a {intent.gpu_product!r} now; there are {', '.join(sorted(memory))}")
    runtime_class = injection.runtime_class
    if surroundings.runtime_classes is not None and runtime_class and runtime_class not in surroundings.runtime_classes:
        warnings.append(f"hasgpu: RuntimeClass {runtime_class} does not exist; GPU pods cannot be created without it")
    if surroundings.autoscaler_trouble is not None:
        warnings.append(f"hasgpu: GPU services are not scaled now: {surroundings.autoscaler_trouble}")
    return warnings


def _class_problems(template: Template, intent: GpuIntent) -> Iterator[str]:
    name = template.annotations.get(keys.CLASS)
    if intent.scaling == "hybrid" and name not in (None, "", keys.HAS_CLASS, keys.KPA_CLASS):
        yield f"{keys.CLASS}={name!r} is not allowed beside {keys.USER_PREFIX} keys: {_CLASS_ADVICE}"


def _container_name_problems(template: Template, intent: GpuIntent) -> Iterator[str]:
    names = {container.name or USER_CONTAINER for container in template.spec.containers}
    for name in intent.gpu_containers:
        if name not in names:
            yield (
                f"{keys.GPU_CONTAINERS}={template.annotations[keys.GPU_CONTAINERS]!r} is not allowed: there is no"
                f" container {name!r}, only {', '.join(sorted(names))}"
            )
    everyone = [*template.spec.containers, *template.spec.starters]
    if any(container.name == keys.SIDECAR_CONTAINER for container in everyone):
        yield f"the container name {keys.SIDECAR_CONTAINER!r} is reserved for the sidecar that hasgpu injects"


def _device_problems(template: Template) -> Iterator[str]:
    for container in template.spec.containers:
        resources = container.resources
        if resources is None:
            continue
        asked = {**(resources.requests or {}), **(resources.limits or {})}
        for name, value in sorted(asked.items()):
            if name.startswith("nvidia.com/"):
                yield (
                    f"{name}={str(value)!r} is not allowed beside {keys.USER_PREFIX} keys: it asks for a whole device,"
                    f" the keys for a slice of one; remove it from container {_called(container)}, and say with"
                    f" {keys.SM_PARTITION} and {keys.TIME_QUOTA} how much is wanted"
                )


def _place_problems(template: Template, injection: Injection) -> Iterator[str]:
    for container in [*template.spec.containers, *template.spec.starters]:
        for mount in container.volume_mounts or ():
            path = normpath(mount.mount_path)
            if path == SHM_DIR:
                yield (
                    f"container {_called(container)} mounts {SHM_DIR}: the GPU's MPS daemon and its clients share that"
                    " place, mount the volume elsewhere"
                )
            elif any(path == place or path.startswith(place + "/") for place in RESERVED_DIRS):
                yield f"container {_called(container)} mounts {path}: the place is reserved for hasgpu"
        if any(port.container_port == SIDECAR_PORT for port in container.ports or ()):
            yield f"container {_called(container)} uses port {SIDECAR_PORT}: the port is reserved for the GPU sidecar"
    for volume in template.spec.volumes or ():
        if str(volume.get("name", "")).startswith(VOLUME_PREFIX):
            yield f"the volume name {volume['name']!r} is not allowed: names with {VOLUME_PREFIX} are reserved"
    runtime_class = template.spec.runtime_class_name
    if runtime_class and injection.runtime_class and runtime_class != injection.runtime_class:
        yield (
            f"runtimeClassName={runtime_class!r} is not allowed beside {keys.USER_PREFIX} keys: GPU pods run under"
            f" {injection.runtime_class!r}"
        )


def _memory_problems(intent: GpuIntent, surroundings: Surroundings) -> Iterator[str]:
    known = surroundings.gpu_memory_bytes or {}
    product = intent.gpu_product
    sizes = [size for name, size in known.items() if product in (None, name)]
    if intent.memory_bytes is not None and sizes and intent.memory_bytes > max(sizes):
        which = f"{product!r}" if product else "GPU of the cluster"
        yield (
            f"{keys.GPU_MEMORY}={format_bytes(intent.memory_bytes)!r} is not allowed: the largest {which} has"
            f" {format_bytes(max(sizes))}"
        )


def _security_problems(template: Template, namespace: str, surroundings: Surroundings) -> Iterator[str]:
    if surroundings.pod_security != "restricted":
        return
    gaps = restricted_gaps(template, surroundings.secure_pod_defaults)
    if gaps:
        advice = "kn: --security-context strict --user UID"
        yield f'namespace {namespace} enforces Pod Security "restricted": {"; ".join(gaps)} ({advice})'


def _called(container: Container) -> str:
    return repr(container.name or USER_CONTAINER)
