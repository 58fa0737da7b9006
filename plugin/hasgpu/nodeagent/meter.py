"""What pods' pages say, made safe to pass on: counters never fall, unreadable pages say what they said last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from hasgpu.device.pages import PageError, PodPageReport, read_pod_page

from .folders import Folders

RATE_OVER_S = 10.0


@dataclass(slots=True)
class _Pod:
    last: PodPageReport | None = None
    busy_ns: deque[tuple[float, int]] = field(default_factory=deque)


class Meter:
    """The pages of this node's pods, by pod UID."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._pods: dict[str, _Pod] = {}
        self._lock = threading.Lock()

    def read(self, uid: str) -> PodPageReport | None:
        """The page now; None where the pod never had a readable one."""
        with self._lock:
            return self._read(uid)

    def sample(self, uids: Collection[str], now_s: float) -> None:
        """Remembers the busy time of these pods, forgets all others."""
        with self._lock:
            self._pods = {uid: pod for uid, pod in self._pods.items() if uid in uids}
            for uid in uids:
                page = self._read(uid)
                if page is None:
                    continue
                samples = self._pods[uid].busy_ns
                samples.append((now_s, page.busy_ns))
                while len(samples) > 2 and samples[1][0] <= now_s - RATE_OVER_S:
                    samples.popleft()

    def busy_fraction(self, uid: str) -> float:
        """GPU time of the row used by the pod over the last seconds, 0..1; 0 where too little is known."""
        with self._lock:
            samples = self._pods[uid].busy_ns if uid in self._pods else deque()
            if len(samples) < 2:
                return 0.0
            (begin_s, begin_ns), (end_s, end_ns) = samples[0], samples[-1]
            return min(1.0, (end_ns - begin_ns) / 1e9 / (end_s - begin_s)) if end_s > begin_s else 0.0

    def _read(self, uid: str) -> PodPageReport | None:
        pod = self._pods.setdefault(uid, _Pod())
        page = read_pod_page(str(self._folders.pod(uid).page))
        if isinstance(page, PageError):
            return pod.last
        # A pod may write what it likes into its page; what we hand on is at least consistent with itself.
        if pod.last is None or (page.busy_ns >= pod.last.busy_ns and page.launches >= pod.last.launches):
            pod.last = page
        return pod.last
