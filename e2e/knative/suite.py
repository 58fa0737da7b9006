"""Which of Knative's tests are run, which beside each other, and what each group needs. It may not run anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tests of one compiled package that want the same cluster."""

    name: str
    turn: int
    """Groups of one turn run beside each other, as packages do in upstream's own CI; they want the same cluster."""
    package: str
    """Of module knative.dev/serving."""
    tests: tuple[str, ...] = ()
    """Names; none: all of the package."""
    parallel: int = 1
    replicas: int = 1
    """Of Deployment autoscaler."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of config-autoscaler, beside upstream's defaults."""
    timeout_s: int = 1200

    @property
    def binary(self) -> str:
        """The compiled package's file name."""
        return self.package.removeprefix("test/").replace("/", "-") + ".test"

    @property
    def pattern(self) -> str:
        """For -test.run."""
        return f"^({'|'.join(self.tests)})$" if self.tests else ""


SUITE = (
    Group(
        name="sustained",
        turn=1,
        package="test/e2e",
        tests=("TestAutoscaleSustaining", "TestDestroyPodTimely", "TestDestroyPodWithRequests"),
    ),
    Group(
        name="bounds",
        turn=1,
        package="test/e2e",
        tests=("TestMinScale", "TestMinScaleTransition", "TestMinScaleAnnotationChange", "TestInitScalePositive"),
        parallel=4,
    ),
    Group(
        name="autoscale",
        turn=1,
        package="test/e2e",
        tests=(
            "TestAutoscaleUpDownUp",
            "TestAutoscaleUpCountPods",
            "TestRPSBasedAutoscaleUpCountPods",
            "TestTargetBurstCapacity",
            "TestTargetBurstCapacityMinusOne",
            "TestTargetBurstCapacityZero",
            "TestFastScaleToZero",
            "TestActivationScale",
            "TestActivatorOverload",
            "TestWebSocketViaActivator",
            "TestDestroyPodInflight",
        ),
        parallel=2,
    ),
    Group(name="runtime", turn=2, package="test/conformance/runtime", parallel=3),
    Group(name="api", turn=2, package="test/conformance/api/v1", parallel=3),
    Group(
        name="initial-zero",
        turn=3,
        package="test/e2e/initscale",
        tests=("TestInitScaleZero",),
        settings={"allow-zero-initial-scale": "true"},
    ),
    Group(name="leader", turn=4, package="test/ha", tests=("TestAutoscalerHA",), replicas=2),
)

IMAGES = (
    "autoscale",
    "configmimic",
    "failing",
    "hellovolume",
    "helloworld",
    "multicontainer/servingcontainer",
    "multicontainer/sidecarcontainer",
    "pizzaplanetv1",
    "pizzaplanetv2",
    "readiness",
    "runtime",
    "singlethreaded",
    "timeout",
    "volumes",
    "wsserver",
)
"""Folders below test/test_images."""
