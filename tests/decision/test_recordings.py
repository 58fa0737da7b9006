"""What Knative's own packages answered to random inputs, recorded; ours must answer the same.

``knative-0.50.jsonl`` has one series a line: of windows (record at, value; read at; average, empty) and of the scale
algorithm (at, ready pods, stable, panic; desired pods, excess burst capacity).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hasgpu.decision.kpa import KpaScaler
from hasgpu.decision.windows import LinearWindow, WeightedWindow
from hasgpu.model.decider import DeciderSpec

SERIES = [json.loads(line) for line in Path(__file__).with_name("knative-0.50.jsonl").read_text().splitlines()]
WINDOWS = [each for each in SERIES if each["k"] == "win"]
SCALES = [each for each in SERIES if each["k"] == "scale"]


@pytest.mark.parametrize("series", WINDOWS, ids=lambda s: f"{'weighted' if s['weighted'] else 'linear'}-{s['w']}s")
def test_windows_average_as_knatives(series: dict[str, Any]) -> None:
    window = (WeightedWindow if series["weighted"] else LinearWindow)(float(series["w"]))
    for at, value, read_at, average, empty in series["ops"]:
        window.record(at, value)
        assert window.is_empty(read_at) is bool(empty)
        assert window.average(read_at) == pytest.approx(average, abs=1e-6 if series["weighted"] else 0, rel=0)


@pytest.mark.parametrize("series", SCALES, ids=lambda s: f"target-{s['spec']['target_value']:.3f}")
def test_decisions_are_knatives(series: dict[str, Any]) -> None:
    spec = DeciderSpec(
        activator_capacity=100, scaling_metric="concurrency", panic_window_s=6, initial_scale=1, **series["spec"]
    )
    begun = series["ops"][0][0]
    scaler = KpaScaler(spec, series["ready0"], begun)
    for at, ready, stable, panic, pods, burst in series["ops"]:
        result = scaler.scale(spec, at, int(ready), stable, panic)
        assert (result.desired_pods, result.excess_burst_capacity) == (pods, burst)
