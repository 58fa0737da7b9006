"""Where things lie on the node. Paths only; every name that comes from outside is checked before it becomes a path.

/run/hasgpu/gpus/<uuid>/{schedule/schedule.v1, mps/, shm/, log/}   one GPU
/run/hasgpu/pods/<uid>/{owner, page/page.v1, volumes/<volume id>}  one pod
/run/hasgpu/lib/<version>/                                         shim and NVML proxy
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}\Z")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class GpuFolders:
    """The folders of one GPU."""

    root: Path

    @property
    def schedule(self) -> Path:
        """Mounted read-only into the GPU's pods."""
        return self.root / "schedule"

    @property
    def schedule_page(self) -> Path:
        """The time-table."""
        return self.schedule / "schedule.v1"

    @property
    def mps(self) -> Path:
        """The pipe directory of the GPU's MPS daemon."""
        return self.root / "mps"

    @property
    def shm(self) -> Path:
        """What daemon and clients have as /dev/shm."""
        return self.root / "shm"

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.root / "log"

    @property
    def compute_mode(self) -> Path:
        """The compute mode before ours, to be restored."""
        return self.root / "compute-mode"


@dataclass(frozen=True, slots=True)
class PodFolders:
    """The folders of one pod."""

    root: Path

    @property
    def owner(self) -> Path:
        """Namespace and name, for a restarted agent."""
        return self.root / "owner"

    @property
    def page_folder(self) -> Path:
        """A tmpfs of its own."""
        return self.root / "page"

    @property
    def page(self) -> Path:
        """The pod's page."""
        return self.page_folder / "page.v1"

    @property
    def volumes(self) -> Path:
        """One file for each published volume: its target."""
        return self.root / "volumes"


@dataclass(frozen=True, slots=True)
class Folders:
    """All folders of the node."""

    root: Path

    def gpu(self, uuid: str) -> GpuFolders:
        """ValueError where ``uuid`` could not be a GPU's."""
        if not _GPU.match(uuid):
            raise ValueError(f"not a GPU UUID: {uuid!r}")
        return GpuFolders(self.root / "gpus" / uuid)

    def pod(self, uid: str) -> PodFolders:
        """ValueError where ``uid`` could not be a pod's."""
        if not _UUID.match(uid):
            raise ValueError(f"not a pod UID: {uid!r}")
        return PodFolders(self.root / "pods" / uid)

    def volume(self, pod_uid: str, volume_id: str) -> Path:
        """The record of a published volume; ValueError where the id could not be one."""
        if not _VOLUME.match(volume_id):
            raise ValueError(f"not a volume id: {volume_id!r}")
        return self.pod(pod_uid).volumes / volume_id

    @property
    def pods(self) -> Path:
        """The parent of all pods' folders."""
        return self.root / "pods"

    def library(self, version: str) -> Path:
        """The shim's files of one version."""
        return self.root / "lib" / version
