"""Runs a script through our algorithm and through Knative's, and names the first difference."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
from hasgpu.decision.kpa import KpaScaler
from hasgpu.decision.load_windows import LoadWindows
from hasgpu.model.decider import Aggregation, DeciderSpec, ScalingMetric
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from .scripts import Script, Spec, Stat, Step

KEY = RevisionKey("n", "r")
AVERAGE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first step at which the two disagree."""

    script: Script
    step: int
    ours: dict[str, Any]
    upstream: dict[str, Any]


class Oracle:
    """Knative's algorithm as a child process: one JSON line in, one out."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self, script: Script) -> dict[str, Any]:
        """What upstream decides; raises RuntimeError if it refuses the script."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(script) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = msgspec.json.decode(line, type=dict[str, Any]) if line else {"Error": "the oracle ended"}
        if answer.get("Error"):
            raise RuntimeError(f"oracle: {answer['Error']}")
        return answer

    def close(self) -> None:
        """Ends the child."""
        self._process.communicate()


def ours(script: Script, base_ns: int) -> Iterator[dict[str, Any]]:
    """What our algorithm decides, step by step, in the oracle's spelling."""
    spec = script.Spec
    windows = LoadWindows(spec.StableWindowNs / 1e9, spec.PanicWindowNs / 1e9, cast("Aggregation", spec.Aggregation))
    scaler = KpaScaler(decider_spec(spec), script.ReadyFirst, _at(base_ns, script.AnchorNs))
    for step in script.Steps:
        if step.Spec is not None:
            spec = step.Spec
            windows.resize(spec.StableWindowNs / 1e9, spec.PanicWindowNs / 1e9, _at(base_ns, script.AnchorNs))
        for stat in step.Stats:
            windows.record(_at(base_ns, stat.AtNs), message(stat))
        yield _decided(spec, scaler, windows, step, _at(base_ns, step.AtNs))


def _decided(spec: Spec, scaler: KpaScaler, windows: LoadWindows, step: Step, now: float) -> dict[str, Any]:
    averages = windows.stable_and_panic(cast("ScalingMetric", spec.ScalingMetric), now, scraped=spec.Scraped)
    stable, panic = averages or (0.0, 0.0)
    shown = {"Stable": stable, "Panic": panic, "NoData": averages is None}
    if averages is None or step.Ready < 0:
        return {"Desired": 0, "Ebc": 0, "Valid": False} | shown
    result = scaler.scale(decider_spec(spec), now, step.Ready, stable, panic)
    return {
        "Desired": result.desired_pods,
        "Ebc": result.excess_burst_capacity,
        "Valid": result.valid,
    } | shown


def first_difference(script: Script, oracle: Oracle) -> Difference | None:
    """None where both agree at every step."""
    return difference_to(script, oracle.answer(script))


def difference_to(script: Script, answer: dict[str, Any]) -> Difference | None:
    """The first step at which ours differs from an answer, given now or stored."""
    for index, (mine, theirs) in enumerate(zip(ours(script, answer["BaseNs"]), answer["Results"], strict=True)):
        if not agree(mine, theirs):
            return Difference(script=script, step=index, ours=mine, upstream=theirs)
    return None


def agree(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Scale, EBC and validity exactly; averages to 1e-6 of the larger of 1 and the value."""
    if any(mine[name] != theirs[name] for name in ("Desired", "Ebc", "Valid", "NoData")):
        return False
    return all(
        abs(mine[name] - theirs[name]) <= AVERAGE_TOLERANCE * max(1.0, abs(theirs[name]))
        for name in ("Stable", "Panic")
    )


def minimised(difference: Difference, oracle: Oracle) -> Difference:
    """The same disagreement in as few steps as dropping them finds."""
    best = replace(difference, script=_cut(difference.script, difference.script.Steps[: difference.step + 1]))
    index = 0
    while index < len(best.script.Steps):
        steps = best.script.Steps
        shorter = first_difference(_cut(best.script, steps[:index] + steps[index + 1 :]), oracle)
        if shorter is None:
            index += 1
        else:
            best = replace(shorter, script=_cut(shorter.script, shorter.script.Steps[: shorter.step + 1]))
    return best


def _cut(script: Script, steps: Sequence[Step]) -> Script:
    return replace(script, Steps=tuple(steps))


def _at(base_ns: int, offset_ns: int) -> float:
    return (base_ns + offset_ns) / 1e9


def decider_spec(spec: Spec) -> DeciderSpec:
    """The oracle's spelling in ours."""
    return DeciderSpec(
        max_scale_up_rate=spec.MaxScaleUpRate,
        max_scale_down_rate=spec.MaxScaleDownRate,
        activator_capacity=100.0,
        scaling_metric=cast("ScalingMetric", spec.ScalingMetric),
        aggregation=cast("Aggregation", spec.Aggregation),
        target_value=spec.TargetValue,
        total_value=spec.TotalValue,
        target_burst_capacity=spec.TargetBurstCapacity,
        panic_threshold=spec.PanicThreshold,
        stable_window_s=spec.StableWindowNs / 1e9,
        panic_window_s=spec.PanicWindowNs / 1e9,
        scale_down_delay_s=spec.ScaleDownDelayNs / 1e9,
        initial_scale=1,
        activation_scale=spec.ActivationScale,
        reachable=spec.Reachable,
    )


def message(stat: Stat) -> StatMessage:
    """A report as it comes off the wire."""
    return StatMessage(
        key=KEY,
        pod_name="p",
        average_concurrent_requests=stat.Concurrency,
        average_proxied_concurrent_requests=stat.ProxiedConcurrency,
        request_count=stat.Requests,
        proxied_request_count=stat.ProxiedRequests,
        process_uptime_s=0.0,
        timestamp_s=0.0,
    )
