"""The service path: a Service or Configuration that opts in is checked, its defaults are written back, and our class is
stamped on its template. Pure: reads no clock, no cluster, no environment.

The answer depends on the object, the old object and the snapshot only, and a second application yields no operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from hasgpu.model import annotations as keys
from hasgpu.model.intent import GpuIntent, IntentError, opted_in, parse_intent

from .objects import Service, Template
from .patch import Patch
from .surroundings import Injection, Surroundings
from .template_rules import template_problems, template_warnings
from .verdict import Verdict

_TEMPLATE = ("spec", "template", "metadata", "annotations")
_UNBOUNDED_BURST = "-1"  # unequal pods need the activator in the path, always


def mutate_service(
    service: Service, old: Service | None, namespace: str, surroundings: Surroundings, injection: Injection
) -> Verdict:
    """The verdict on a Service at CREATE (``old`` None) or UPDATE."""
    template = service.spec.template
    present = template.annotations
    # What runs is not judged again: otherwise no label of a service could be changed once its GPU is gone.
    judged = service.metadata.deletion_timestamp is None and (old is None or old.spec.template != template)
    if not opted_in(present):
        return _not_opted_in(service, injection)
    try:
        intent = parse_intent(present, service.metadata.name or "unnamed")
    except IntentError as error:
        return Verdict(problems=error.problems if judged else ())
    problems = template_problems(template, intent, namespace, surroundings, injection) if judged else []
    if problems:
        return Verdict(problems=tuple(problems))
    patch, warnings = Patch(), template_warnings(intent, surroundings, injection)
    stamps = _stamps(intent, service, injection)
    if old is not None and _keeps_revision_name(old.spec.template, template):
        stamps = _as_before(stamps, old.spec.template.annotations)
    for key, value in stamps.items():
        if key in _REPLACED and present.get(key) not in (None, "", value):
            warnings.append(f"hasgpu: {key}={present[key]!r} is replaced by {value!r}")
        patch.put(_TEMPLATE, present, key, value)
    warnings += _misplaced(service)
    return Verdict(warnings=tuple(warnings), operations=tuple(patch.operations))


_REPLACED = (keys.CLASS, keys.METRIC, keys.TARGET_BURST_CAPACITY)


def _stamps(intent: GpuIntent, service: Service, injection: Injection) -> dict[str, str]:
    """What the template must say in the end; what the user said already is not in it."""
    present = service.spec.template.annotations
    defaults = {
        keys.SLO_PERCENTILE: f"{intent.slo_percentile:g}",
        keys.PROFILE: service.metadata.name,
        keys.SM_PARTITION: "auto",
        keys.TIME_QUOTA: f"{intent.quota.low.percent}%-{intent.quota.high.percent}%",
        keys.BATCH_SIZE: str(intent.batch_size),
        keys.GPU_PROCESSES: str(intent.gpu_processes),
        keys.SCALING: intent.scaling,
        keys.PROGRESS_DEADLINE: injection.progress_deadline,
    }
    stamps = {key: value for key, value in defaults.items() if key not in present and value}
    if intent.scaling == "hybrid":
        stamps |= {
            keys.CLASS: keys.HAS_CLASS,
            keys.METRIC: "concurrency",
            keys.TARGET_BURST_CAPACITY: _UNBOUNDED_BURST,
        }
    elif present.get(keys.CLASS) == keys.HAS_CLASS:
        stamps[keys.CLASS] = keys.KPA_CLASS
    return stamps


def _keeps_revision_name(old: Template, new: Template) -> bool:
    return bool(new.metadata.name) and old.metadata.name == new.metadata.name


def _as_before(stamps: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    """A template whose revision the user named may not differ in anything (Knative refuses it), so it gets what it got
    when it was made, whatever the defaults are now.
    """
    return {key: old[key] for key in stamps if key in old}


def _not_opted_in(service: Service, injection: Injection) -> Verdict:
    """No key of ours on the template: what the last one left behind goes, one in the wrong place is told."""
    template, patch = service.spec.template, Patch()
    forged = tuple(
        f"{key} is written by the allocator on pods and may not be set on a template"
        for key in sorted(template.annotations)
        if key.startswith(keys.SLICE_PREFIX)
    )
    warnings = _misplaced(service)
    if template.annotations.get(keys.CLASS) == keys.HAS_CLASS:
        left_behind = {
            keys.CLASS: keys.HAS_CLASS,
            keys.TARGET_BURST_CAPACITY: _UNBOUNDED_BURST,
            keys.PROGRESS_DEADLINE: injection.progress_deadline,
        }
        for key, value in left_behind.items():
            if template.annotations.get(key) == value:
                patch.drop(_TEMPLATE, key)
        warnings.append(f"hasgpu: no {keys.USER_PREFIX} key is left; Knative's own autoscaler takes over")
    return Verdict(problems=forged, warnings=tuple(warnings), operations=tuple(patch.operations))


def _misplaced(service: Service) -> list[str]:
    on_template = service.spec.template.annotations
    return [
        f"hasgpu: {key} on the service has no effect; it belongs on the template (kn: --annotation-revision)"
        for key in sorted(service.metadata.annotations or {})
        if key.startswith(keys.USER_PREFIX) and key not in on_template
    ]
