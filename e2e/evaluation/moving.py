"""Evaluation: what planned moves bring where load leaves: functions that were busy fall quiet one after the other.

``python -m e2e.evaluation.moving --seeds 3`` prints whole GPUs in use, GPU time allocated and late requests with and
without moves, on the same requests. Simulated.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from hasgpu.decision.policy import Policy
from hasgpu.simulator.policies.registry import Tuning, policy_named
from hasgpu.simulator.result import summary
from hasgpu.simulator.run import Setup, simulate, simulated_gpus
from hasgpu.simulator.workload import Workload, generator

from .data import PRODUCT, authors_function
from .job import table

FUNCTIONS, GPUS, SECONDS = 12, 12, 1500.0
BUSY_PER_S, QUIET_PER_S = (10.0, 30.0), (0.5, 4.0)
FALLS_QUIET_S = (150.0, 400.0)
MODELS = ("resnet50", "mobilenet_v3_large", "convnext_large")


def falling_quiet(seed: int) -> Setup:
    """Busy together, quiet one after the other: what is left stands on as many GPUs as before."""
    functions, arrivals = [], {}
    for number in range(FUNCTIONS):
        function = authors_function(MODELS[number % len(MODELS)], 2.0)
        function = replace(function, key=function.key._replace(name=f"f{number:02d}"))
        chance = generator(seed, function.name, "falls quiet")
        at = chance.uniform(*FALLS_QUIET_S)
        parts = [(0.0, at, chance.uniform(*BUSY_PER_S)), (at, SECONDS, chance.uniform(*QUIET_PER_S))]
        drawn = [
            begin + chance.random(chance.poisson(rate * (end - begin))) * (end - begin) for begin, end, rate in parts
        ]
        functions.append(function)
        arrivals[function.name] = np.sort(np.concatenate(drawn))
    return Setup(
        functions=tuple(functions),
        workload=Workload(arrivals=arrivals, horizon_s=SECONDS),
        gpus=simulated_gpus(GPUS, PRODUCT),
        seed=seed,
    )


def moving(seeds: int) -> str:
    """The table."""
    lines = []
    for seed in range(seeds):
        setup = falling_quiet(seed)
        for name, move_after_s in (("never", 0.0), ("after 5 min", Policy().move_after_s)):
            policy = policy_named("hasgpu", setup, Tuning(hasgpu=Policy(move_after_s=move_after_s)))
            result = summary(simulate(setup, policy), SECONDS)
            late, changes = result["violations"], result["changes"]
            assert isinstance(late, dict)
            assert isinstance(changes, dict)
            figures = [f"{result['whole_gpus']:.2f}", f"{result['mean_gpus']:.3f}", f"{late['slo']:.3%}"]
            lines.append([str(seed), name, *figures, str(changes["out"])])
    return table(["seed", "moves", "whole GPUs", "allocated GPUs", "late", "pods made"], lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m e2e.evaluation.moving", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    print(moving(parser.parse_args().seeds))
