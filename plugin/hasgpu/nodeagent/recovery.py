"""Ends processes that can never use their GPU again, so that their containers start anew on the slice they have.

A fatal fault breaks the contexts of all clients of a GPU's MPS server, which then takes nobody in until they have all
left; a daemon that ended leaves its clients with broken contexts too. CUDA mends none of them, and few programs leave
by themselves. So who was broken for ``GRACE_S`` is killed, and a daemon whose server stays in FAULT without anybody is
told to quit; its keeper starts it again. May not touch: Kubernetes. Time is passed in.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hasgpu.device.errors import MpsUnreachable
from hasgpu.device.mps import MpsControl
from hasgpu.device.pages import PageError, PodPageReport

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""For programs that notice by themselves, and leave or make a new context."""
RESTART_AFTER_S = 30.0
"""How long a server may stay in FAULT once it has no client of ours any more."""

ReadPage = Callable[[str], PodPageReport | PageError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A pod whose processes were killed, and why."""

    pod_uid: str
    why: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Broken:
    since_s: float
    pids: frozenset[int]
    """Who was there then: whoever comes later is well until it says otherwise."""


class Recovery:
    """What is broken since when. One thread calls ``step``."""

    def __init__(self, read: ReadPage, controls: Mapping[str, MpsControl]) -> None:
        self._read, self._controls = read, controls
        self._broken: dict[str, _Broken] = {}
        self._deserted_s: dict[str, float] = {}

    def step(self, pods: Mapping[str, str], in_fault: Collection[str], now_s: float) -> tuple[Ended, ...]:
        """Pods by UID with their GPU, and the GPUs whose MPS server is in FAULT; returns who was ended now."""
        ended, held = [], set()
        for uid, gpu in pods.items():
            page = self._read(uid)
            if isinstance(page, PageError):
                continue
            if page.pids:
                held.add(gpu)
            if why := _why_broken(page, gpu in in_fault):
                ended += self._judge(uid, why, page, now_s)
            else:
                self._broken.pop(uid, None)
        self._broken = {uid: broken for uid, broken in self._broken.items() if uid in pods}
        self._restart_deserted(set(in_fault) - held, now_s)
        return tuple(ended)

    def _judge(self, uid: str, why: str, page: PodPageReport, now_s: float) -> list[Ended]:
        broken = self._broken.get(uid)
        if broken is None or not broken.pids & set(page.pids):
            # Of those who were there nobody is left, and still it is broken: for the others time begins now.
            broken = self._broken[uid] = _Broken(now_s, frozenset(page.pids))
        if now_s - broken.since_s < GRACE_S:
            return []
        killed = tuple(pid for pid in sorted(broken.pids & set(page.pids)) if self._kill(uid, pid))
        return [Ended(pod_uid=uid, why=why, pids=killed)] if killed else []

    def _kill(self, uid: str, pid: int) -> bool:
        """False where it has gone. The kernel names the holder of a lock on the page, so no pod can name another's."""
        if pid <= 0:
            return False  # outside our pid namespace
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            page = self._read(uid)  # who holds its lock now that we hold its handle is who we mean
            if isinstance(page, PageError) or pid not in page.pids:
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            return True
        except OSError:
            return False
        finally:
            os.close(handle)

    def _restart_deserted(self, gpus: Collection[str], now_s: float) -> None:
        self._deserted_s = {gpu: self._deserted_s.get(gpu, now_s) for gpu in gpus}
        for gpu, since_s in self._deserted_s.items():
            if now_s - since_s < RESTART_AFTER_S:
                continue
            self._deserted_s[gpu] = now_s
            try:
                log.error("GPU %s: its MPS server stays in FAULT without clients: daemon told to quit", gpu)
                self._controls[gpu].quit()
            except MpsUnreachable as error:
                log.error("GPU %s: %s", gpu, error)


def _why_broken(page: PodPageReport, gpu_in_fault: bool) -> str:
    """Empty where nothing is; a page without processes says nothing about the next one."""
    if not page.pids:
        return ""
    if page.last_error:
        return f"its CUDA context is broken by error {page.last_error}"
    return "the MPS server of its GPU is in FAULT" if gpu_in_fault else ""
