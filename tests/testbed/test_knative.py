"""Upstream's manifests are rewritten for one small machine without a registry, and in nothing else."""

from __future__ import annotations

import copy

import pytest

from e2e.testbed.knative import rename_images, rewrite

DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"name": "activator"},
    "spec": {
        "template": {
            "spec": {
                "terminationGracePeriodSeconds": 600,
                "containers": [
                    {
                        "name": "activator",
                        "readinessProbe": {"initialDelaySeconds": 10, "periodSeconds": 5, "failureThreshold": 5},
                        "livenessProbe": {"initialDelaySeconds": 15, "periodSeconds": 10},
                        "lifecycle": {"preStop": {"exec": {"command": ["curl"]}}},
                        "resources": {"requests": {"cpu": "300m", "memory": "60Mi"}, "limits": {"cpu": "1"}},
                    }
                ],
            }
        }
    },
}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("image: ko://knative.dev/serving/cmd/queue", "image: hasgpu.local/kn-queue:1"),
        ("image: ko://knative.dev/net-kourier/cmd/kourier", "image: hasgpu.local/kn-kourier:1"),
        ("image: docker.io/envoyproxy/envoy:v1.36-latest", "image: hasgpu.local/kn-envoy:1"),
        ("image: registry.example/other:2", "image: registry.example/other:2"),
    ],
    ids=["a serving program", "kourier's controller", "Envoy from any tag", "any other image stays"],
)
def test_images_of_the_bed_stand_in(written: str, wanted: str) -> None:
    assert rename_images(written) == wanted


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "PodDisruptionBudget"])
def test_what_one_node_has_no_use_for_is_left_out(kind: str) -> None:
    assert rewrite({"kind": kind, "metadata": {"name": "activator"}}) is None


def test_a_system_pod_is_probed_at_once_and_asks_for_little() -> None:
    rewritten = rewrite(copy.deepcopy(DEPLOYMENT))
    assert rewritten is not None
    pod = rewritten["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"] == {"periodSeconds": 1, "failureThreshold": 5}
    assert container["livenessProbe"] == {"initialDelaySeconds": 15, "periodSeconds": 10}
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "60Mi"}, "limits": {"cpu": "1"}}
    assert "lifecycle" not in container
    assert pod["terminationGracePeriodSeconds"] == 10


def test_a_setting_is_added_beside_what_upstream_wrote() -> None:
    document = {
        "kind": "ConfigMap",
        "metadata": {"name": "config-deployment"},
        "data": {"queue-sidecar-image": "hasgpu.local/kn-queue:1", "_example": "..."},
    }
    rewritten = rewrite(document)
    assert rewritten is not None
    assert rewritten["data"]["queue-sidecar-image"] == "hasgpu.local/kn-queue:1"
    assert rewritten["data"]["registries-skipping-tag-resolving"] == "hasgpu.local"
    # The product's installer decides this one, here as on any cluster.
    assert "pod-is-always-schedulable" not in rewritten["data"]


def test_other_documents_pass_unchanged() -> None:
    document = {"kind": "ConfigMap", "metadata": {"name": "config-gc"}, "data": {"_example": "..."}}
    assert rewrite(copy.deepcopy(document)) == document
