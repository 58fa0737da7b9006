"""Which of Knative's tests are run, in which order, and what each group needs. It may not run anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tests of one compiled package that want the same cluster."""

    name: str
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
        name="autoscale",
        package="test/e2e",
        tests=(
            "TestAutoscaleUpDownUp",
            "TestAutoscaleUpCountPods",
            "TestRPSBasedAutoscaleUpCountPods",
            "TestAutoscaleSustaining",
            "TestTargetBurstCapacity",
            "TestTargetBurstCapacityMinusOne",
            "TestTargetBurstCapacityZero",
            "TestFastScaleToZero",
            "TestActivationScale",
        ),
    ),
    Group(
        name="bounds",
        package="test/e2e",
        tests=("TestMinScale", "TestMinScaleTransition", "TestMinScaleAnnotationChange", "TestInitScalePositive"),
    ),
    Group(
        name="initial-zero",
        package="test/e2e/initscale",
        tests=("TestInitScaleZero",),
        settings={"allow-zero-initial-scale": "true"},
    ),
    Group(
        name="paths",
        package="test/e2e",
        tests=(
            "TestActivatorOverload",
            "TestWebSocketViaActivator",
            "TestDestroyPodInflight",
            "TestDestroyPodTimely",
            "TestDestroyPodWithRequests",
        ),
    ),
    Group(name="leader", package="test/ha", tests=("TestAutoscalerHA",), replicas=2),
    Group(name="runtime", package="test/conformance/runtime", parallel=4),
    Group(name="api", package="test/conformance/api/v1", parallel=4),
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
