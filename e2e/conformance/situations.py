"""What a step of a script met that no `if` of our code shows: limits taken by min and max, signs of the burst."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .scripts import Spec, Step

Decided = dict[str, Any]

ALL = (
    "no data",
    "ready pods unknown",
    "no pod ready",
    "unreachable",
    "held back by max-scale-up-rate",
    "held up by max-scale-down-rate",
    "raised to the activation scale",
    "over the panic threshold",
    "more than stable load asks for: panic or delay",
    "burst capacity left",
    "burst capacity missing",
    "burst unlimited",
    "burst none",
    "scaled by requests per second",
)


def met(spec: Spec, step: Step, decided: Decided) -> Iterator[str]:
    """The situations of one evaluation."""
    if decided["NoData"]:
        yield "no data"
    if step.Ready < 0:
        yield "ready pods unknown"
    if not decided["Valid"]:
        return
    ready = max(1, step.Ready)
    wanted = math.ceil(decided["Stable"] / spec.TargetValue)
    shown = {
        "no pod ready": step.Ready == 0,
        "unreachable": not spec.Reachable,
        "held back by max-scale-up-rate": wanted > math.ceil(spec.MaxScaleUpRate * ready),
        "held up by max-scale-down-rate": spec.Reachable and wanted < math.floor(ready / spec.MaxScaleDownRate),
        "raised to the activation scale": 0 < wanted < spec.ActivationScale <= decided["Desired"],
        "over the panic threshold": math.ceil(decided["Panic"] / spec.TargetValue) / ready >= spec.PanicThreshold,
        "more than stable load asks for: panic or delay": decided["Desired"] > max(wanted, ready),
        "burst capacity left": spec.TargetBurstCapacity > 0 and decided["Ebc"] >= 0,
        "burst capacity missing": spec.TargetBurstCapacity > 0 and decided["Ebc"] < 0,
        "burst unlimited": spec.TargetBurstCapacity < 0,
        "burst none": spec.TargetBurstCapacity == 0,
        "scaled by requests per second": spec.ScalingMetric == "rps",
    }
    yield from (name for name, holds in shown.items() if holds)
