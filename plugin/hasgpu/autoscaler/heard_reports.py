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
        """Takes what was heard since; UIDs of the pods of which something was said, or nothing is any more."""
        before, self._heard = self._heard, heard
        changed = [node for node in before.keys() | heard.keys() if before.get(node) is not heard.get(node)]
        touched: set[str] = set()
        for old in (before[node][0].pods for node in changed if node in before):
            for each in old:
                if self.by_pod.get(each.pod_uid) is each:
                    del self.by_pod[each.pod_uid], self.at_s[each.pod_uid]
                touched.add(each.pod_uid)
        for report, at_s in (heard[node] for node in changed if node in heard):
            for each in report.pods:
                self.by_pod[each.pod_uid], self.at_s[each.pod_uid] = each, at_s
                touched.add(each.pod_uid)
        return touched
