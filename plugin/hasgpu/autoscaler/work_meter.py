"""Process autoscaler: GPU time of one request by SM share, of one revision. Told reports and counts; no I/O.

Agents tell each pod's GPU time and launches, activators only how many requests the revision had: requests are taken to
be divided as launches are. A window of requests is one sample. The first requests after a pod became ready are thrown
away: warm-up is no request's work, and what they take is told later than that they came. Mean latency, by Little's
law, says what one takes at most. While agents or activators are silent its caller lets it begin anew: work without its
requests is as untrue as requests without their work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hasgpu.model.gpu import Placement
from hasgpu.model.report import PodSliceReport
from hasgpu.prediction.quota_law import work_from_latency_s

from .observed_load import ObservedLoad

WINDOW_REQUESTS = 20.0
SETTLING_REQUESTS = 10.0
FULL_LOAD = 0.85
"""Part of its slots that a pod uses from which on it counts as overloaded."""
LONE_LOAD = 0.3
"""The same for a function that batches: beyond it requests meet, and a batch of unknown size is no request's work."""

LEAST_WAY_S = 0.004
"""What a request spends on its way from activator to function and back at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSample:
    """What some requests took on one SM share of one GPU product."""

    product: str
    sm_percent: int
    work_s: float
    requests: float
    overloaded: bool
    most_s: float | None = None
    """What the mean latency allows for; None where pods differ or their quota changed."""


@dataclass(slots=True)
class _Share:
    """Sums of a window."""

    busy_s: float = 0.0
    launches: int = 0
    slots_s: float = 0.0
    quotas: set[int] = field(default_factory=set)


@dataclass(slots=True)
class WorkMeter:
    """Read once a tick."""

    _settling: float = SETTLING_REQUESTS
    _counted: float = 0.0
    _requests: float = 0.0
    _counted_flight_s: float = 0.0
    _flight_s: float = 0.0
    _before: dict[str, PodSliceReport] = field(default_factory=dict)
    _shares: dict[tuple[str, int], _Share] = field(default_factory=dict)
    _read_s: float = 0.0

    def read(
        self,
        placements: Iterable[Placement],
        reports: Mapping[str, PodSliceReport],
        products: Mapping[str, str],
        load: ObservedLoad,
        now: float,
        *,
        batch_size: int,
        window_s: float,
    ) -> list[WorkSample]:
        """Samples since the last call; ``products``: by GPU UUID."""
        serving = {
            each.pod.uid: each for each in placements if each.pod.uid in reports and (each.ready or each.terminating)
        }
        self._requests += load.requests - self._counted
        self._flight_s += load.in_flight_s - self._counted_flight_s
        self._counted, self._counted_flight_s = load.requests, load.in_flight_s
        newcomers = serving.keys() - self._before.keys()
        for uid, placement in serving.items():
            if uid not in newcomers:
                self._add(placement, self._before[uid], reports[uid], products, now - self._read_s)
        self._before, self._read_s = {uid: reports[uid] for uid in serving}, now
        if newcomers or not serving:
            self._settling = SETTLING_REQUESTS
            self._begin()
        if self._settling > 0.0 and self._requests >= self._settling:
            self._settling = 0.0
            self._begin()
        return self._samples(LONE_LOAD if batch_size > 1 else FULL_LOAD, window_s)

    def restart(self) -> None:
        """Something was missing: the pods are as new to it, warm-up and all."""
        self._before = {}

    def _begin(self) -> None:
        self._shares, self._requests, self._flight_s = {}, 0.0, 0.0

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
        share.quotas.add(report.quota_percent)

    def _samples(self, most_load: float, window_s: float) -> list[WorkSample]:
        launches = sum(share.launches for share in self._shares.values())
        if self._settling > 0.0 or self._requests < WINDOW_REQUESTS or launches == 0:
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
                    most_s=self._most_s(share, window_s),
                )
                samples.append(sample)
        self._begin()
        return samples

    def _most_s(self, share: _Share, window_s: float) -> float | None:
        """The slot time whose mean latency under the gate would be all of what was seen, but for the way there."""
        quota = max(share.quotas)
        if len(self._shares) > 1 or len(share.quotas) > 1 or quota <= 0 or self._flight_s <= 0.0:
            return None
        latency_s = max(self._flight_s / self._requests - LEAST_WAY_S, 1e-4)
        return work_from_latency_s(latency_s, quota / 100.0, window_s)
