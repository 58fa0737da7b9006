"""Volumes of GPU pods: what the CSI driver mounts, recorded on disk so that a restarted agent knows it. No gRPC here.

Publish and unpublish may be repeated and interrupted anywhere: a record is written before its mount is made and
removed after the mount is gone. The pod's page lives until its last volume is unpublished.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hasgpu.device.pages import PodPage

from . import mounts
from .folders import Folders

Part = Literal["page", "schedule", "mps", "shm", "lib"]
PARTS: tuple[Part, ...] = get_args(Part)

# A page, the page being made, and one inode that the pod may waste.
_PAGE_BYTES, _PAGE_INODES = 8192, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What the kubelet asks to have mounted where."""

    volume_id: str
    target: Path
    part: Part
    pod_uid: str
    namespace: str
    name: str


class Volumes:
    """The mounts of this node. Calls for one node are serialised: they take a millisecond."""

    def __init__(self, folders: Folders, library: Path) -> None:
        self._folders, self._library = folders, library
        self._lock = threading.Lock()

    def publish(self, volume: Volume, gpu_uuid: str) -> None:
        """Mounts the part at its target; done already is fine."""
        pod = self._folders.pod(volume.pod_uid)
        record = self._folders.volume(volume.pod_uid, volume.volume_id)
        with self._lock:
            pod.volumes.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, text in ((pod.owner, f"{volume.namespace}/{volume.name}"), (record, str(volume.target))):
                beside = pod.root / ".new"
                beside.write_text(text)
                beside.rename(path)
            if volume.part == "page":
                self._make_page(volume.pod_uid)
            if mounts.is_mounted(volume.target):
                return
            volume.target.mkdir(mode=0o755, parents=True, exist_ok=True)
            mounts.bind(
                self._source(volume, gpu_uuid),
                volume.target,
                read_only=volume.part in ("schedule", "lib"),
                executable=volume.part == "lib",
            )

    def unpublish(self, volume_id: str, target: Path) -> None:
        """Unmounts; never mounted or unmounted already is fine. The pod's folder goes with its last volume."""
        with self._lock:
            mounts.unmount(target)
            with contextlib.suppress(FileNotFoundError):
                target.rmdir()
            for uid in self._pods():
                record = self._folders.volume(uid, volume_id)
                if record.exists():
                    record.unlink()
                    self._forget_if_empty(uid)

    def published(self) -> dict[str, str]:
        """Pods with at least one volume: UID to ``namespace/name``."""
        with self._lock:
            return {
                uid: self._folders.pod(uid).owner.read_text() for uid in self._pods() if not self._forget_if_empty(uid)
            }

    def _pods(self) -> list[str]:
        try:
            names = os.listdir(self._folders.pods)
        except FileNotFoundError:
            return []
        return [name for name in names if _is_pod(self._folders, name)]

    def _make_page(self, pod_uid: str) -> None:
        pod = self._folders.pod(pod_uid)
        pod.page_folder.mkdir(exist_ok=True)
        if not mounts.is_mounted(pod.page_folder):
            mounts.mount_tmpfs(pod.page_folder, size_bytes=_PAGE_BYTES, inodes=_PAGE_INODES, mode=0o755)
        PodPage.create(str(pod.page))

    def _source(self, volume: Volume, gpu_uuid: str) -> Path:
        gpu = self._folders.gpu(gpu_uuid)
        sources: dict[Part, Path] = {
            "page": self._folders.pod(volume.pod_uid).page_folder,
            "schedule": gpu.schedule,
            "mps": gpu.mps,
            "shm": gpu.shm,
            "lib": self._library,
        }
        return sources[volume.part]

    def _forget_if_empty(self, pod_uid: str) -> bool:
        """Takes a pod's folder away where no volume is left, also one that a killed agent left half made."""
        pod = self._folders.pod(pod_uid)
        if pod.volumes.is_dir() and any(pod.volumes.iterdir()):
            return False
        mounts.unmount(pod.page_folder)
        shutil.rmtree(pod.root)
        return True


def install_library(source: Path, folders: Folders) -> Path:
    """Copies the shim's files to a folder named by their content; running pods keep the files they have mapped."""
    files = sorted(path for path in source.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    target = folders.library(digest.hexdigest()[:16])
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        beside = target / f".{file.name}.new"
        shutil.copyfile(file, beside)
        beside.chmod(0o755)
        beside.rename(target / file.name)
    return target


def _is_pod(folders: Folders, name: str) -> bool:
    try:
        folders.pod(name)
    except ValueError:
        return False
    return True
