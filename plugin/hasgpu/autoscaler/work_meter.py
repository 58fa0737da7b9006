"""Process autoscaler: GPU time of one request by SM share, of one revision. Told reports and counts; no I/O.

Agents tell each pod's GPU time and launches, activators only how many requests the revision had: requests are taken to
be divided as launches are. A window of requests is one sample; one that began with a pod that had just become ready
is thrown away, since its warm-up is no request's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hasgpu.model.gpu import Placement
from hasgpu.model.report import PodSliceReport

WINDOW_REQUESTS = 20.0
FULL_LOAD = 0.85
"""Part of its slots that a pod uses from which on it counts as overloaded."""
LONE_LOAD = 0.3
"""The same for a function that batches: beyond it requests meet, and a batch of unknown size is no request's work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSample:
    """What some requests took on one SM share of one GPU product."""

    product: str
    sm_percent: int
    work_s: float
    requests: float
    overloaded: bool


@dataclass(slots=True)
class _Share:
    """Sums of a window."""

    busy_s: float = 0.0
    launches: int = 0
    slots_s: float = 0.0


@dataclass(slots=True)
class WorkMeter:
    """Read once a tick."""

    _counted: float = 0.0
    _requests: float = 0.0
    _before: dict[str, PodSliceReport] = field(default_factory=dict)
    _shares: dict[tuple[str, int], _Share] = field(default_factory=dict)
    _read_s: float = 0.0

    def read(
        self,
        placements: Iterable[Placement],
        reports: Mapping[str, PodSliceReport],
        products: Mapping[str, str],
        requests: float,
        now: float,
        *,
        batch_size: int,
    ) -> list[WorkSample]:
        """Samples since the last call; ``requests``: all that were counted so far; ``products``: by GPU UUID."""
        serving = {
            each.pod.uid: each for each in placements if each.pod.uid in reports and (each.ready or each.terminating)
        }
        self._requests += requests - self._counted
        self._counted = requests
        newcomers = serving.keys() - self._before.keys()
        for uid, placement in serving.items():
            if uid not in newcomers:
                self._add(placement, self._before[uid], reports[uid], products, now - self._read_s)
        self._before, self._read_s = {uid: reports[uid] for uid in serving}, now
        if newcomers or not serving:
            self._shares, self._requests = {}, 0.0
        return self._samples(LONE_LOAD if batch_size > 1 else FULL_LOAD)

    def _add(
        self,
        placement: Placement,
        before: PodSliceReport,
        report: PodSliceReport,
        products: Mapping[str, str],
        elapsed_s: float,
    ) -> None:
        product = products.get(placement.slice.gpu_uuid)
        if product is None:
            return
        share = self._shares.setdefault((product, placement.slice.sm_partition.percent), _Share())
        share.busy_s += max(0, report.busy_ns - before.busy_ns) / 1e9
        share.launches += max(0, report.launches - before.launches)
        share.slots_s += elapsed_s * max(report.quota_percent, 1) / 100.0

    def _samples(self, most_load: float) -> list[WorkSample]:
        launches = sum(share.launches for share in self._shares.values())
        if self._requests < WINDOW_REQUESTS or launches == 0:
            return []
        samples = []
        for (product, sm_percent), share in self._shares.items():
            requests = self._requests * share.launches / launches
            if share.busy_s > 0.0 and requests >= 1.0:
                sample = WorkSample(
                    product=product,
                    sm_percent=sm_percent,
                    work_s=share.busy_s / requests,
                    requests=requests,
                    overloaded=share.busy_s > most_load * share.slots_s,
                )
                samples.append(sample)
        self._shares, self._requests = {}, 0.0
        return samples
