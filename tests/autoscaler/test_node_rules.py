"""Which nodes a pod's own rules allow, as Kubernetes' scheduler would see it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hasgpu.autoscaler.node_rules import allows
from hasgpu.cluster.objects import Node, PodSpec


def node(**changes: Any) -> Node:
    body = {
        "metadata": {"name": "n1", "labels": {"hasgpu.dev/enabled": "true", "zone": "a", "cores": "16"}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    for key, value in changes.items():
        body[key] = value
    return msgspec.convert(body, Node)


def spec(**fields: Any) -> PodSpec:
    return msgspec.convert(fields, PodSpec)


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


TAINTED = {"taints": [{"key": "gpu", "effect": "NoSchedule", "value": "yes"}]}
NOT_READY = {"conditions": [{"type": "Ready", "status": "False"}]}


@pytest.mark.parametrize(
    ("where", "what", "allowed"),
    [
        pytest.param(node(), spec(), True, id="a ready node that opted in"),
        pytest.param(node(metadata={"name": "n1"}), spec(), False, id="a node that did not opt in"),
        pytest.param(node(status=NOT_READY), spec(), False, id="a node that is not ready"),
        pytest.param(node(spec={"unschedulable": True}), spec(), False, id="a cordoned node"),
        pytest.param(node(), spec(nodeSelector={"zone": "a"}), True, id="a selector that holds"),
        pytest.param(node(), spec(nodeSelector={"zone": "b"}), False, id="a selector that does not"),
        pytest.param(node(spec=TAINTED), spec(), False, id="a taint that nobody tolerates"),
        pytest.param(
            node(spec=TAINTED), spec(tolerations=[{"key": "gpu", "operator": "Exists"}]), True, id="a tolerated taint"
        ),
        pytest.param(
            node(spec=TAINTED),
            spec(tolerations=[{"key": "gpu", "value": "no"}]),
            False,
            id="another value",
        ),
        pytest.param(
            node(spec={"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}),
            spec(),
            True,
            id="a soft taint",
        ),
        pytest.param(
            node(), spec(affinity=affinity({"key": "zone", "operator": "In", "values": ["a"]})), True, id="affinity In"
        ),
        pytest.param(
            node(), spec(affinity=affinity({"key": "zone", "operator": "NotIn", "values": ["a"]})), False, id="NotIn"
        ),
        pytest.param(
            node(), spec(affinity=affinity({"key": "cores", "operator": "Gt", "values": ["8"]})), True, id="affinity Gt"
        ),
        pytest.param(
            node(),
            spec(affinity=affinity({"key": "cores", "operator": "Lt", "values": ["8"]})),
            False,
            id="affinity Lt",
        ),
        pytest.param(node(), spec(affinity=affinity({"key": "ssd", "operator": "Exists"})), False, id="Exists"),
        pytest.param(
            node(),
            spec(affinity=affinity({"key": "ssd", "operator": "DoesNotExist"})),
            True,
            id="DoesNotExist",
        ),
        pytest.param(
            node(), spec(affinity={"podAntiAffinity": {}}), True, id="other affinities are the scheduler's business"
        ),
    ],
)
def test_a_node_is_a_candidate_where_the_scheduler_would_take_it(where: Node, what: PodSpec, allowed: bool) -> None:
    assert allows(where, what) is allowed
