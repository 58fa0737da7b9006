"""The data plane's bench: each figure beside its goal, measured with real processes through the shim as released.

    python -m e2e.dataplane [--fast] [--json FILE] [FIGURE...]    # all of gate wake share throughput borrow crowd agent
                                                                  # fault sanitizers kills where none is named

Emulated: the driver and the GPU are doubles; what is shown is the gate, not a GPU. Clients run before all else on the
machine (SCHED_RR), which needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from . import agent, borrow, crowd, fault, gate, kills, sanitizers, share, throughput, wake
from .bench import build
from .figure import Figure

Measure = Callable[[bool], tuple[list[Figure], list[str]]]

MEASURES: dict[str, Measure] = {
    "gate": lambda fast: (gate.measure(rounds=3 if fast else 7), []),
    "wake": lambda fast: (wake.measure(5, 20) if fast else wake.measure(), []),
    "share": lambda fast: share.measure(3, share.QUOTAS[1:3]) if fast else share.measure(),
    "throughput": lambda fast: (throughput.measure(2, 3) if fast else throughput.measure(), []),
    "borrow": lambda fast: (borrow.measure(5 if fast else 20), []),
    "crowd": lambda fast: (crowd.measure(5 if fast else 10), []),
    "agent": lambda fast: (agent.measure(20 if fast else 100), []),
    "fault": lambda _: (fault.measure(), []),
    "sanitizers": lambda fast: (sanitizers.measure(30_000 if fast else 300_000), []),
    "kills": lambda fast: (kills.measure(100 if fast else 1000), []),
}


def main() -> int:
    """1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(MEASURES)}; all where none is named"
    )
    parser.add_argument("--fast", action="store_true", help="shorter runs: two minutes in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures for machines")
    options = parser.parse_args()
    if unknown := set(options.figures) - set(MEASURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    build()
    load = os.getloadavg()[0]
    print(f"emulated; {os.cpu_count()} CPUs, Linux {platform.release()}, load {load:.1f} before\n")
    print("| figure | measured | goal | | beside |\n|---|---|---|---|---|")
    figures, notes = [], []
    for name in options.figures or MEASURES:
        found, more = MEASURES[name](options.fast)
        figures += found
        notes += more
        print(*(figure.as_row() for figure in found), sep="\n", flush=True)
    print("", *notes, sep="\n")
    if options.json:
        record = {"emulated": True, "load_before": load, "figures": [figure.as_record() for figure in figures]}
        options.json.write_text(json.dumps(record, indent=1))
    return not all(figure.met for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
