"""Evaluation: the demo's two functions on the emulated bed and in the simulator: one load, one profile, one policy.

The bed's runs are kept in bed_runs.json, beside which stands what `make demo` wrote last (demo/result.json); the
simulator is given the demo's arrivals, profiles and settings. `python -m e2e.evaluation.bed RESULT.json` keeps a run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hasgpu.model.intent import parse_intent
from hasgpu.model.keys import RevisionKey
from hasgpu.model.profile import Cell, LatencyProfile, Measurement
from hasgpu.simulator.functions_file import FunctionSpec
from hasgpu.simulator.policies.registry import Tuning
from hasgpu.simulator.truth import truth_of_cells

from e2e.demo.__main__ import FAST_SLOTS, SLOT_S, arrivals_for
from e2e.demo.functions import FUNCTIONS, Function

from .data import PRODUCT
from .job import Job, table, work_all
from .runner import Runner
from .targets import Verdict

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "e2e/demo/profiles"
KEPT = Path(__file__).with_name("bed_runs.json")
GPUS, STARTUP_S = 2, 1.5
OVERHEAD_S = 0.003
"""The way through ingress, activator and queue-proxy; chosen on runs of 75 s, before the longer ones were made. Slots
are strict here: the shim lets a pod run on for 2 ms by time it saved, of which a server that pauses between launches
gets about half. With all of it both medians ask for 10 ms outside, and GPUs and P95 agree as well."""
SETTINGS = Tuning(risk_quantile=0.95, free=0.1, interference=0.05, outside_s=0.02)
"""As config-hasgpu has them by default."""
Record = dict[str, Any]
"""Of one run: ``load_s`` and ``services``; of a service some of the figures of demo/result.json."""


def report(runner: Runner) -> tuple[str, Verdict]:
    """The table of both; the longest load judges, by the mean of its runs."""
    runs = kept_runs()
    loads = sorted({run["load_s"] for run in runs})
    simulated = dict(zip(loads, work_all([job(load_s) for load_s in loads], runner), strict=True))
    lines = [
        _line(name, load_s, [run["services"][name] for run in runs if run["load_s"] == load_s], of)
        for load_s in loads
        for name, of in simulated[load_s].result["functions"].items()
    ]
    judged = lines[-len(FUNCTIONS) :]
    head = [
        "function", "load s", "runs", "mean GPUs bed / sim", "± 10 %", "P50 ms", "P95 ms", "± 15 %", "late % at SLO",
    ]  # fmt: skip
    text = (
        "The demo's two functions, the same arrivals, profiles and settings on the emulated bed (each run beside other"
        " programs of the same machine; of several runs the mean, and the least and the most) and in the simulator"
        f" ({1000 * OVERHEAD_S:.0f} ms outside the GPU, chosen on runs of 75 s; strict slots;"
        f" start-up {STARTUP_S:g} s). The longest load judges: shorter ones scatter more than the goal allows.\n\n"
        f"{table(head, lines)}"
    )
    return text, Verdict(
        "emulated bed and simulator agree on two functions",
        "mean GPUs ± 10 %, P95 ± 15 %",
        "; ".join(f"{line[0]} GPUs {line[4]}, P95 {line[7]}" for line in judged),
        all(line[n].startswith("yes") for line in judged for n in (4, 7)),
        f"judged by {loads[-1]:g} s of load",
    )


def kept_runs() -> list[Record]:
    """All that is known of the bed, the newest last."""
    runs: list[Record] = json.loads(KEPT.read_text(encoding="utf-8"))
    newest = ROOT / "demo/result.json"
    if newest.exists() and (made := record(newest)) not in runs:
        runs.append(made)
    return runs


def record(result: Path) -> Record:
    """What is kept of a demo's result."""
    seen = json.loads(result.read_text(encoding="utf-8"))
    kept = ("requests", "mean_gpus_allocated", "share_over_slo")
    services = {
        name: {key: of[key] for key in kept} | {key: of["latency_ms"][key] for key in ("p50", "p95")}
        for name, of in seen["services"].items()
    }
    return {"load_s": seen["load_s"], "services": services}


def _line(name: str, load_s: float, bed: Sequence[Record], sim: dict[str, Any]) -> list[str]:
    gpus, p95 = _seen(bed, "mean_gpus_allocated"), _seen(bed, "p95")
    late = [100.0 * each for each in _seen(bed, "share_over_slo")]
    return [
        name,
        f"{load_s:g}",
        str(len(bed)),
        f"{_spread(gpus, 3)} / {sim['mean_gpus']:.3f}",
        _agree(gpus, sim["mean_gpus"], 0.1),
        f"{_spread(_seen(bed, 'p50'), 0)} / {sim['latency_ms']['p50']:.0f}",
        f"{_spread(p95, 0)} / {sim['latency_ms']['p95']:.0f}",
        _agree(p95, sim["latency_ms"]["p95"], 0.15),
        f"{_spread(late, 2)} / {100 * sim['violations']['slo']:.2f}",
    ]


def _seen(runs: Sequence[Record], key: str) -> list[float]:
    """Of older runs not all figures were kept."""
    return [run[key] for run in runs if key in run]


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    mean = f"{float(np.mean(values)):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _agree(bed: Sequence[float], sim: float, within: float) -> str:
    off = sim / float(np.mean(bed)) - 1.0
    return f"{'yes' if abs(off) <= within else 'no'} ({100 * off:+.0f} %)"


def job(load_s: float) -> Job:
    """The demo as the simulator sees it."""
    arrivals = arrivals_for(load_s <= FAST_SLOTS * SLOT_S)
    return Job(
        label=("bed",),
        functions=tuple(_function(each) for each in FUNCTIONS),
        arrivals={each.name: np.array([a.due_s for a in arrivals if a.function == each.name]) for each in FUNCTIONS},
        horizon_s=load_s,
        policy="hasgpu",
        gpus=GPUS,
        tuning=SETTINGS,
    )


def _function(of: Function) -> FunctionSpec:
    told = yaml.safe_load((PROFILES / f"{of.name}.yaml").read_text(encoding="utf-8"))["spec"]
    measured = told["measurements"][0]
    cells = tuple(
        Cell(batch=c["batch"], sm_percent=c["sm"], quota_percent=c["quota"], latency_ms=c["latencyMs"])
        for c in measured["cells"]
    )
    one = Measurement(gpu_product=PRODUCT, gate="gpu-time", window_ms=40.0, cells=cells)
    wanted = {"hasgpu.dev/slo-latency": f"{of.slo_ms}ms"}
    wanted |= {f"hasgpu.dev/{key}": value for key, value in (each.split("=") for each in of.annotations)}
    return FunctionSpec(
        key=RevisionKey("simulated", of.name),
        intent=parse_intent(wanted, of.name),
        profile=LatencyProfile(namespace="", name=of.name, model=of.model, memory_bytes=None, measurements=(one,)),
        truth=truth_of_cells(cells),
        memory_bytes=1 << 30,
        startup_s=STARTUP_S,
        overhead_s=OVERHEAD_S,
        slo_base_s=of.slo_ms / 2000.0,
    )


if __name__ == "__main__":
    made = [*json.loads(KEPT.read_text(encoding="utf-8")), *(record(Path(name)) for name in sys.argv[1:])]
    KEPT.write_text("[\n" + ",\n".join(f" {json.dumps(run)}" for run in made) + "\n]\n", encoding="utf-8")
