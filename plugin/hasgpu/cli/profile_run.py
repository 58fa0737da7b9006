"""Process cli: measures the cells of a plan on a GPU of the cluster, slice after slice, into a LatencyProfile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click

from hasgpu.cluster.errors import NotFound
from hasgpu.cluster.paths import KNATIVE_SERVICES, named
from hasgpu.cluster.session import Session
from hasgpu.model.annotations import GPU_MEMORY
from hasgpu.model.profile import Cell, Measurement
from hasgpu.prediction.plan import work_plan

from .command import Trouble
from .measuring_copy import MeasuringCopy
from .profile_csv import read_grid
from .profile_fit import tell_agreement, write_measurement
from .profile_words import bar

WARM_UP = 3
WAYS = 9
_PAUSE_S = 0.04
"""At most, between requests: so that they come at every instant of a window."""
WINDOW_MS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What `profile run` was asked."""

    namespace: str
    service: str
    plan: Path | None
    batches: tuple[int, ...]
    path: str
    inferences: int
    timeout_s: float


def run_plan(session: Session, request: RunRequest, output: Path) -> None:
    """One copy of the service for each SM share and quota; they leave nothing behind."""
    service = _service(session, request)
    memory = (service["spec"]["template"].get("metadata", {}).get("annotations") or {}).get(GPU_MEMORY)
    groups = [(slice_, list(each)) for slice_, each in groupby(planned(request), key=lambda cell: cell[1:])]
    with _kept(request.service, memory, output) as keep, bar(f"measuring {request.service}") as progress:
        for index, ((sm, quota), group) in enumerate(groups):
            with MeasuringCopy(session, service, sm, quota, request.timeout_s) as copy:
                product = copy.gpu_product()
                for cell in measured(copy, [batch for batch, _, _ in group], sm, quota, request):
                    keep(product, cell)
            progress((index + 1) / len(groups))


@contextmanager
def _kept(name: str, memory: str | None, output: Path) -> Iterator[Callable[[str, Cell], None]]:
    """Writes after each cell: what fails later loses none of the GPU's time. To standard output all of it at last."""
    product, cells, printed = "", list[Cell](), str(output) == "-"

    def measurement() -> Measurement:
        return Measurement(gpu_product=product, gate="gpu-time", window_ms=WINDOW_MS, cells=tuple(cells))

    def keep(of: str, cell: Cell) -> None:
        nonlocal product
        product = of
        cells.append(cell)
        if not printed:
            write_measurement(name, memory, measurement(), output)

    try:
        yield keep
    finally:
        if printed and cells:
            write_measurement(name, memory, measurement(), output)
        if cells:
            tell_agreement(measurement())


def planned(request: RunRequest) -> list[tuple[int, int, int]]:
    """Batch, SM share and quota of every cell, those of one slice together."""
    if request.plan is None:
        cells = work_plan(request.batches)
    else:
        points = read_grid(request.plan).points
        cells = tuple(zip(points.batch.tolist(), points.sm.tolist(), points.quota.tolist(), strict=True))
    if not cells:
        raise Trouble(f"{request.plan}: has no cell")
    if any(batch > 1 for batch, _, _ in cells) and "{batch}" not in request.path:
        raise Trouble("batches above 1 need a place in the request: --path '/predict?batch={batch}'")
    return sorted(cells, key=lambda cell: (-cell[1], -cell[2], cell[0]))


def measured(
    copy: MeasuringCopy,
    batches: Sequence[int],
    sm: int,
    quota: int,
    request: RunRequest,
    pause: Callable[[], None] | None = None,
) -> Iterator[Cell]:
    """A cell is what one inference takes of its slot: its GPU time, or what the host makes of it where that is more."""
    rest = pause or (lambda: time.sleep(random.uniform(0.0, _PAUSE_S)))
    ways = [copy.way_s() for _ in range(WAYS)]
    way_s = median([each for each in ways if each is not None]) if any(ways) else None
    for batch in batches:
        path = request.path.replace("{batch}", str(batch))
        for _ in range(WARM_UP):
            copy.ask_s(path)
        before_s, took_s = copy.busy_s(), []
        for _ in range(request.inferences):
            took_s.append(copy.ask_s(path))
            rest()
        busy_s = (copy.busy_s() - before_s) / request.inferences
        if busy_s <= 0.0:
            raise Trouble(f"{request.path}: answered without the GPU; is it what runs an inference?")
        # Waits for the slot are part of a mean; a single late answer of the way there is none of it.
        whole_s = (median(took_s) if quota == 100 else fmean(took_s)) - (way_s or 0.0)
        latency_s = max(busy_s, whole_s) if way_s is not None or quota < 100 else busy_s
        latency_ms = round(1000.0 * latency_s, 3)
        click.echo(f"batch {batch} sm {sm} quota {quota}: {latency_ms:.1f} ms", err=True)
        yield Cell(batch=batch, sm_percent=sm, quota_percent=quota, latency_ms=latency_ms)


def _service(session: Session, request: RunRequest) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = session.get(named(KNATIVE_SERVICES, request.namespace, request.service), dict)
    except NotFound as error:
        raise Trouble(f"there is no service {request.service} in namespace {request.namespace}") from error
    return found
