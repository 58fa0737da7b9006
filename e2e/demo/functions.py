"""The two functions of the demo, and how a user creates them."""

from __future__ import annotations

from dataclasses import dataclass

from e2e.commands import REGISTRY, kn, kubectl_json
from e2e.load.replay import Target

IMAGE = f"{REGISTRY}/inference:1"
TIMEOUT_S = 15
"""Of a request, and so of a pod that leaves: it keeps its slice that long at most, while Knative's default is 300 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A model served with an SLO."""

    name: str
    model: str
    slo_ms: int
    annotations: tuple[str, ...] = ()

    def create(self, namespace: str) -> None:
        """`kn service create`; waits until it is Ready."""
        words = [f"--annotation-revision=hasgpu.dev/{text}" for text in self.annotations]
        kn(
            *("service", "create", self.name, "--namespace", namespace, "--image", IMAGE, "--port", "8080"),
            *("--env", f"MODEL={self.model}", "--timeout", str(TIMEOUT_S), "--wait-timeout", "120"),
            f"--annotation-revision=hasgpu.dev/slo-latency={self.slo_ms}ms",
            f"--annotation-revision=hasgpu.dev/profile={self.name}",
            *words,
        )

    def target(self, namespace: str, ingress: str) -> Target:
        """Where requests go: the ingress by address, the service by Host header."""
        url = kubectl_json("get", "ksvc", self.name, "--namespace", namespace)["status"]["url"]
        return Target(url=f"http://{ingress}/predict", host=str(url).split("://", 1)[1])


FUNCTIONS = (
    Function(name="resnet50", model="resnet50", slo_ms=150),
    Function(name="convnext-large", model="convnext_large", slo_ms=250, annotations=("sm-partition=30%",)),
)


def ingress_address() -> str:
    """Where kourier's gateway listens, as its Service says."""
    status = kubectl_json("get", "service", "kourier", "--namespace", "kourier-system")["status"]
    entries = status.get("loadBalancer", {}).get("ingress") or [{}]
    address = entries[0].get("ip") or entries[0].get("hostname")
    if not address:
        raise RuntimeError("Service kourier-system/kourier has no load balancer address to send requests to")
    return str(address)
