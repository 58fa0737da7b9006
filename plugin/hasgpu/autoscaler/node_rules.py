"""Process autoscaler: which nodes a pod's own rules allow: selector, required affinity, taints. Pure.

The allocator names the node, so it must not name one that Kubernetes' scheduler would then refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hasgpu.cluster.objects import Node, PodSpec, Taint, Toleration
from hasgpu.model.annotations import NODE_ENABLED_LABEL

_UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


def allows(node: Node, spec: PodSpec) -> bool:
    """True where the pod may run on the node as far as its own rules go."""
    labels = node.metadata.labels
    if not node.ready or labels.get(NODE_ENABLED_LABEL) != "true":
        return False
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    taints = (*node.spec.taints, *((_UNSCHEDULABLE,) if node.spec.unschedulable else ()))
    hard = [taint for taint in taints if taint.effect in ("NoSchedule", "NoExecute")]
    if not all(any(_tolerates(each, taint) for each in spec.tolerations) for taint in hard):
        return False
    return _affine(spec.affinity or {}, node)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.key == taint.key and toleration.value == taint.value


def _affine(affinity: Mapping[str, Any], node: Node) -> bool:
    """Required node affinity: one of the terms must hold, and in it every expression."""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": node.metadata.name}
    return any(
        all(_matches(each, node.metadata.labels) for each in term.get("matchExpressions") or ())
        and all(_matches(each, fields) for each in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One expression as Kubernetes reads it; an operator that it does not know matches nothing."""
    value = labels.get(expression["key"])
    values = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and _number(value) > _number(values[0])
        case "Lt":
            return value is not None and _number(value) < _number(values[0])
        case _:
            return False


def _number(text: str) -> float:
    """Not a number compares with nothing."""
    try:
        return float(int(text))
    except ValueError:
        return float("nan")
