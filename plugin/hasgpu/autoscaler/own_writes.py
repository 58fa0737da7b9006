"""Process autoscaler: what this leader wrote and has not seen come back yet. Used by one thread; no I/O.

Three gaps are bridged: between a write and our watch showing it (else the next pass would decide on the past), between
a write and the agent's acknowledgement (an agent may still lay any quota written since the last it laid), and between
a write that was never answered and what tells whether it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from hasgpu.cluster.objects import Pod
from hasgpu.model import annotations as keys
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.report import PodSliceReport

UNANSWERED_S = 15.0
"""So long a write without an answer counts as made; a server that has not made it by then has given it up."""


class OwnWrites:
    """Pods as the API server answered our last patch of them, and quotas on their way to agents."""

    def __init__(self) -> None:
        self._answers: dict[str, Pod] = {}
        self._quotas: dict[str, list[tuple[int, int, float]]] = {}
        self._unanswered: dict[str, tuple[GpuSlice, float]] = {}

    def wrote(self, answer: Pod, now: float) -> None:
        """The API server's answer to a patch of a pod."""
        uid, annotations = answer.metadata.uid, answer.metadata.annotations
        self._answers[uid] = answer
        generation, quota = annotations.get(keys.SLICE_GENERATION, ""), annotations.get(keys.SLICE_TIME_QUOTA, "")
        if generation.isdigit() and quota.isdigit():
            self._quotas.setdefault(uid, []).append((int(generation), int(quota), now))

    def unanswered(self, uid: str, attempted: GpuSlice, now: float) -> None:
        """Whether a pod's slice was written is not known, so it counts until that is."""
        self._unanswered[uid] = (attempted, now)
        self._quotas.setdefault(uid, []).append((attempted.generation, attempted.time_quota.percent, now))

    def claimed(self, pod: Pod, now: float) -> GpuSlice | None:
        """What a pod may have been given by a write without an answer; None once the pod shows what became of it."""
        uid = pod.metadata.uid
        if uid not in self._unanswered:
            return None
        attempted, at_s = self._unanswered[uid]
        shown = pod.metadata.annotations.get(keys.SLICE_GENERATION, "")
        if shown.isdigit() and int(shown) >= attempted.generation:
            del self._unanswered[uid]
            return None
        if now - at_s > UNANSWERED_S:
            del self._unanswered[uid]
            given_up = (attempted.generation, attempted.time_quota.percent, at_s)
            self._quotas[uid] = [write for write in self._quotas.get(uid, ()) if write != given_up]
            return None
        return attempted

    def newest(self, seen: Pod) -> Pod:
        """The pod of our watch, or of our own last write where that is newer."""
        answer = self._answers.get(seen.metadata.uid)
        if answer is None:
            return seen
        if int(seen.metadata.resource_version) >= int(answer.metadata.resource_version):
            del self._answers[seen.metadata.uid]
            return seen
        return answer

    def peak_percent(self, uid: str) -> int:
        """The largest quota written and not acknowledged; -1 where all is."""
        return max((quota for _, quota, _ in self._quotas.get(uid, ())), default=-1)

    def pending(self) -> set[str]:
        """UIDs of the pods of which something is not what our watch and the agents say."""
        return {*self._answers, *self._quotas, *self._unanswered}

    def forget_acknowledged(self, there: Set[str], reports: Mapping[str, PodSliceReport]) -> list[float]:
        """Drops what agents have laid, and all of pods that are not ``there`` any more, by UID; when the last write of
        each newly acknowledged pod was made."""
        for kept in (self._answers, self._unanswered):
            for uid in kept.keys() - there:
                del kept[uid]
        acknowledged: list[float] = []
        for uid, writes in list(self._quotas.items()):
            report = reports.get(uid)
            laid = report.generation if report is not None else -1
            left = [write for write in writes if write[0] > laid]
            acknowledged += [write[2] for write in writes[-1:] if write[0] <= laid]
            if left and uid in there:
                self._quotas[uid] = left
            else:
                del self._quotas[uid]
        return acknowledged

    def clear(self) -> None:
        """Another leads: what we wrote is no longer all that was written."""
        self._answers.clear()
        self._unanswered.clear()
        self._quotas.clear()
