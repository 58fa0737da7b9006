"""Process cli: carries `simulate` out: files in; result.json, decisions and plots out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hasgpu.fitter.errors import InputError
from hasgpu.model.profile import Gate
from hasgpu.simulator.bound import least_gpu_seconds, served_at_the_bound
from hasgpu.simulator.cluster import Cluster
from hasgpu.simulator.functions_file import products, read_functions
from hasgpu.simulator.gates import RowPolicy
from hasgpu.simulator.plots import draw
from hasgpu.simulator.policies.registry import Tuning, policy_named
from hasgpu.simulator.result import DECISIONS_FILE, summary
from hasgpu.simulator.run import Setup, simulate, simulated_gpus
from hasgpu.simulator.workload import read_workload

from .command import Progress, Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOrder:
    """What the command line says."""

    workload: Path
    functions: Path
    gpus: int
    gpu_memory: int
    """Bytes."""
    policy: str
    gate: str
    row_policy: str
    lent_percent: int
    seed: int
    output: Path
    noise: float
    interference: float
    grace: float
    """Milliseconds."""
    plots: bool


def run_simulation(order: SimulationOrder, progress: Progress) -> dict[str, object]:
    """Simulates and writes the output folder; the overall result."""
    try:
        functions = read_functions(order.functions)
        workload = read_workload(order.workload, [each.name for each in functions], order.seed)
    except InputError as error:
        raise Trouble(str(error)) from error
    order.output.mkdir(parents=True, exist_ok=True)
    setup = Setup(
        functions=functions,
        workload=workload,
        gpus=simulated_gpus(order.gpus, products({each.name: each for each in functions}), order.gpu_memory),
        gate=cast("Gate", order.gate),
        rows=cast("RowPolicy", order.row_policy),
        seed=order.seed,
        noise=order.noise,
        interference=order.interference,
        grace_s=order.grace / 1000.0,
    )
    with progress.step(f"simulating {sum(len(each) for each in workload.arrivals.values())} requests"):
        try:
            cluster = _simulated(setup, order)
        except ValueError as error:
            raise Trouble(str(error)) from error
    result = {
        **summary(cluster, workload.horizon_s, lambda function: least_gpu_seconds(setup, function)),
        "policy": order.policy,
        "gate": order.gate,
        "seed": order.seed,
        "gpus": order.gpus,
        "horizon_s": workload.horizon_s,
    }
    (order.output / DECISIONS_FILE).write_text("".join(f"{line}\n" for line in cluster.log.lines), encoding="utf-8")
    (order.output / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if order.plots:
        with progress.step("drawing"):
            draw(cluster, order.output)
    return result


def _simulated(setup: Setup, order: SimulationOrder) -> Cluster:
    if order.policy == "bound":
        return served_at_the_bound(setup)
    return simulate(setup, policy_named(order.policy, setup, Tuning(lent_percent=order.lent_percent)))
