"""Adapter cluster: where kinds live on the API server. Strings only."""

from __future__ import annotations

from typing import Final

PODS: Final = ("/api/v1", "pods")
CONFIG_MAPS: Final = ("/api/v1", "configmaps")
SECRETS: Final = ("/api/v1", "secrets")
SERVICES: Final = ("/api/v1", "services")
NODES: Final = ("/api/v1", "nodes")
NAMESPACES: Final = ("/api/v1", "namespaces")
EVENTS: Final = ("/api/v1", "events")
DEPLOYMENTS: Final = ("/apis/apps/v1", "deployments")
DAEMON_SETS: Final = ("/apis/apps/v1", "daemonsets")
LEASES: Final = ("/apis/coordination.k8s.io/v1", "leases")
RUNTIME_CLASSES: Final = ("/apis/node.k8s.io/v1", "runtimeclasses")
ENDPOINT_SLICES: Final = ("/apis/discovery.k8s.io/v1", "endpointslices")
POD_AUTOSCALERS: Final = ("/apis/autoscaling.internal.knative.dev/v1alpha1", "podautoscalers")
METRICS: Final = ("/apis/autoscaling.internal.knative.dev/v1alpha1", "metrics")
SERVERLESS_SERVICES: Final = ("/apis/networking.internal.knative.dev/v1alpha1", "serverlessservices")
KNATIVE_SERVICES: Final = ("/apis/serving.knative.dev/v1", "services")
GPUS: Final = ("/apis/hasgpu.dev/v1alpha1", "gpus")
LATENCY_PROFILES: Final = ("/apis/hasgpu.dev/v1alpha1", "latencyprofiles")
MUTATING_WEBHOOKS: Final = ("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")

Kind = tuple[str, str]


def collection(kind: Kind, namespace: str = "") -> str:
    """All objects of a kind, of one namespace or (empty) of the cluster."""
    prefix, plural = kind
    return f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"


def named(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """One object, or its subresource; ``namespace`` is empty for cluster-scoped kinds."""
    path = f"{collection(kind, namespace)}/{name}"
    return f"{path}/{subresource}" if subresource else path
