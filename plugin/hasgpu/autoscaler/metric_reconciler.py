"""Process autoscaler: lets collections follow Metric objects and says in their status whether load arrives.

Reference: knative/serving pkg/reconciler/metric/metric.go. Like upstream it serves Metrics of any class.
"""

from __future__ import annotations

from collections.abc import Callable

from hasgpu.cluster.knative import Metric
from hasgpu.cluster.patch import merge_patch
from hasgpu.cluster.paths import METRICS, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.cluster.session import Session
from hasgpu.model.keys import RevisionKey

from .conditions import READY, Conditions, same, to_wire
from .kpa_class import KpaClass
from .revision_spec import aggregation


class MetricReconciler:
    """May be used by several workers, though never for one key at a time."""

    def __init__(
        self,
        session: Session,
        metrics: Reflector[Metric],
        kpa: KpaClass,
        *,
        leads: Callable[[RevisionKey], bool | None],
        scrape_error: Callable[[RevisionKey], str | None],
        scrape: Callable[[RevisionKey, bool], None],
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._kpa = kpa
        self._leads = leads
        self._scrape_error = scrape_error
        self._scrape = scrape

    def reconcile(self, key: RevisionKey, now: float) -> None:
        """One pass; raises ClusterError."""
        metric, leads = self._metrics.get(key.namespace, key.name), self._leads(key)
        if metric is None or leads is False or metric.metadata.deletion_timestamp is not None:
            self._kpa.stop_collecting(key)
            self._scrape(key, False)
            return
        if leads is None:  # collected as before, until it is known who leads
            return
        self._kpa.collect(key, metric.spec, aggregation(metric.metadata.annotations))
        self._scrape(key, bool(metric.spec.scrape_target))
        conditions = Conditions((), metric.status.conditions)
        conditions.initialize()
        error = self._scrape_error(key)
        if error is None:
            conditions.mark_true(READY)
        else:
            why = f"Failed to reconcile metric collection: {error}"
            conditions.mark_false(READY, "CollectionFailed", why)
        (settled,) = conditions.settled(now)
        before = metric.status.conditions
        observed = metric.status.observed_generation == metric.metadata.generation
        if observed and len(before) == 1 and same(before[0], settled):
            return
        status = {"observedGeneration": metric.metadata.generation, "conditions": to_wire([settled])}
        path = named(METRICS, key.namespace, key.name, "status")
        merge_patch(self._session, path, {"status": status})
