"""Evaluation: `make bench`: how many simulated requests a second one core does, and what decisions cost."""

from __future__ import annotations

import time

from hasgpu.simulator.policies.registry import policy_named
from hasgpu.simulator.run import simulate

from .data import authors_function, thinned_poisson
from .decision_cost import decision_cost
from .job import Job, setup_of, table


def main() -> None:
    """Prints two tables."""
    lines = []
    for policy, rate, seconds in (
        ("kpa-whole", 40.0, 6000),
        ("kpa-whole", 400.0, 1500),
        ("hasgpu", 50.0, 1200),
        ("hasgpu", 200.0, 600),
    ):
        job = Job(
            label=(policy,),
            functions=(authors_function("mobilenet_v3_large", 2.0),),
            arrivals={"f": thinned_poisson([rate] * seconds, 1, "f")},
            horizon_s=float(seconds),
            policy=policy,
            gpus=16,
        )
        setup = setup_of(job)
        made = policy_named(policy, setup)
        started = time.process_time()
        cluster = simulate(setup, made)
        taken_s = time.process_time() - started
        requests = sum(each.requests.count for each in cluster.functions.values())
        pods = max(sample.pods for each in cluster.functions.values() for sample in each.samples)
        lines.append([policy, f"{rate:g}/s", str(pods), f"{requests}", f"{requests / taken_s:,.0f}"])
    print(table(["policy", "load", "pods at most", "requests", "requests/s of one core"], lines))
    print(decision_cost()[0])


if __name__ == "__main__":
    main()
