"""Process autoscaler: what node agents say of each pod, followed report by report. Used by one thread; no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from hasgpu.model.report import NodeReport, PodSliceReport

Heard = Mapping[str, tuple[NodeReport, float]]
"""By node: the last report, and when it was heard."""


class HeardReports:
    """The last reports by pod UID; of a node that reported nothing new nothing is read."""

    def __init__(self) -> None:
        self.by_pod: dict[str, PodSliceReport] = {}
        self.at_s: dict[str, float] = {}
        """When it was heard, by pod UID."""
        self._heard: Heard = {}

    def follow(self, heard: Heard) -> set[str]:
        """Takes what was heard since; UIDs of the pods whose slices are not what they were, or are there no more."""
        before, self._heard = self._heard, heard
        changed = [node for node in before.keys() | heard.keys() if before.get(node) is not heard.get(node)]
        gone: dict[str, PodSliceReport] = {}
        for node in (node for node in changed if node in before):
            for each in before[node][0].pods:
                if self.by_pod.get(each.pod_uid) is each:
                    gone[each.pod_uid] = self.by_pod.pop(each.pod_uid)
                    del self.at_s[each.pod_uid]
        touched: set[str] = set()
        for report, at_s in (heard[node] for node in changed if node in heard):
            for each in report.pods:
                self.by_pod[each.pod_uid], self.at_s[each.pod_uid] = each, at_s
                old = gone.pop(each.pod_uid, None)
                if old is None or _laid(old) != _laid(each):
                    touched.add(each.pod_uid)
        return touched | gone.keys()


def _laid(report: PodSliceReport) -> tuple[object, ...]:
    """What of a report says where the pod is; its counters go on and on."""
    place = report.gpu_uuid, report.row, report.sm_percent, report.memory_bytes
    return *place, report.generation, report.quota_percent, report.processes, report.alive
