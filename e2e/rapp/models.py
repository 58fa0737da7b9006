"""Models that nobody has measured: kernel tables drawn from a seed, in the form that the emulated GPU loads. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One model."""

    name: str
    table: str
    """The text of its CSV file."""


def draw_models(count: int, chance: random.Random) -> tuple[Drawn, ...]:
    """From 5 to 30 ms of GPU time on the whole GPU, some bound by their host's launches."""
    return tuple(_draw(f"drawn-{index}", chance) for index in range(count))


def _draw(name: str, chance: random.Random) -> Drawn:
    kernels = chance.randint(30, 120)
    total_us = math.exp(chance.uniform(math.log(5_000.0), math.log(30_000.0)))
    weights = [chance.lognormvariate(0.0, 0.7) for _ in range(kernels)]
    plateau = chance.uniform(30.0, 100.0)
    host_us = chance.uniform(0.05, 1.1) * total_us / kernels
    lines = [f"# host_us_per_kernel={host_us:.1f}", "# memory_mib=200", "kernel,fixed_us,work_us,plateau_percent"]
    for index, weight in enumerate(weights):
        part = weight / sum(weights)
        reach = min(100.0, max(10.0, chance.gauss(plateau, 15.0)))
        lines.append(f"{name}/{index},{chance.uniform(4, 15):.0f},{total_us * part * reach / 100.0:.1f},{reach:.0f}")
    return Drawn(name=name, table="\n".join(lines) + "\n")
