"""What the CSI driver mounts, with real mounts in a namespace of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import cast

import pytest
from hasgpu.device import page_layout
from hasgpu.nodeagent import mounts
from hasgpu.nodeagent.folders import Folders
from hasgpu.nodeagent.volumes import PARTS, Part, Volume, Volumes, install_library

from tests.nodeagent.namespace import in_mount_namespace

GPU = "GPU-1"
POD = "00000001-0000-4000-8000-000000000000"


class Host:
    """A node's folders and a kubelet's, below a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = Folders(root / "run")
        gpu = self.folders.gpu(GPU)
        for folder in (gpu.schedule, gpu.mps, gpu.shm):
            folder.mkdir(parents=True)
        gpu.schedule_page.write_bytes(b"table")
        built = root / "built"
        built.mkdir()
        (built / "libcuda.so.1").write_bytes(b"shim")
        self.volumes = Volumes(self.folders, install_library(built, self.folders))

    def volume(self, part: Part, pod: str = POD) -> Volume:
        target = self.root / "kubelet" / "pods" / pod / part / "mount"
        return Volume(
            volume_id=f"csi-{part}-{pod}", target=target, part=part, pod_uid=pod, namespace="default", name="pod-1"
        )

    def publish_all(self) -> None:
        for part in PARTS:
            self.volumes.publish(self.volume(part), GPU)

    def unpublish(self, part: Part) -> None:
        volume = self.volume(part)
        self.volumes.unpublish(volume.volume_id, volume.target)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_each_part_shows_its_folder_and_only_what_a_pod_may_change_is_writable(host: Host) -> None:
    def body() -> None:
        host.publish_all()
        shown = {part: sorted(os.listdir(host.volume(part).target)) for part in PARTS}
        assert shown == {
            "page": ["page.v1"],
            "schedule": ["schedule.v1"],
            "mps": [],
            "shm": [],
            "lib": ["libcuda.so.1"],
        }
        for part in ("schedule", "lib"):
            with pytest.raises(OSError) as refused:
                (host.volume(cast("Part", part)).target / "new").write_text("x")
            assert refused.value.errno == errno.EROFS
        page = host.volume("page").target / "page.v1"
        assert page.stat().st_size == page_layout.PAGE_FILE_BYTES
        assert page.stat().st_mode & 0o777 == 0o666

    in_mount_namespace(body)


def test_a_pod_cannot_fill_its_page_folder(host: Host) -> None:
    def body() -> None:
        host.publish_all()
        folder = host.volume("page").target
        (folder / "one").write_bytes(b"x" * 4096)
        with pytest.raises(OSError) as full:
            (folder / "two").touch()
        assert full.value.errno == errno.ENOSPC

    in_mount_namespace(body)


def test_publish_and_unpublish_may_be_repeated(host: Host) -> None:
    def body() -> None:
        host.publish_all()
        (host.volume("page").target / "page.v1").write_bytes(b"counted")
        host.publish_all()
        assert (host.volume("page").target / "page.v1").read_bytes() == b"counted"
        for part in PARTS * 2:
            host.unpublish(part)
            assert not mounts.is_mounted(host.volume(part).target)
        assert host.volumes.published() == {}

    in_mount_namespace(body)


def test_the_page_stays_until_the_last_volume_is_gone(host: Host) -> None:
    def body() -> None:
        host.publish_all()
        for part in PARTS[:-1]:
            host.unpublish(part)
        assert host.folders.pod(POD).page.exists()
        assert host.volumes.published() == {POD: "default/pod-1"}
        host.unpublish(PARTS[-1])
        assert not host.folders.pod(POD).root.exists()

    in_mount_namespace(body)


def test_a_restarted_agent_knows_what_is_published(host: Host) -> None:
    def body() -> None:
        host.publish_all()
        again = Volumes(host.folders, host.folders.library("other"))
        assert again.published() == {POD: "default/pod-1"}
        for part in PARTS:
            again.unpublish(host.volume(part).volume_id, host.volume(part).target)
        assert again.published() == {}

    in_mount_namespace(body)


def test_a_target_that_was_never_mounted_is_unpublished(host: Host) -> None:
    in_mount_namespace(lambda: host.unpublish("page"))


def test_what_a_killed_agent_left_half_made_is_cleared(host: Host) -> None:
    def body() -> None:
        host.folders.pod(POD).volumes.mkdir(parents=True)
        assert host.volumes.published() == {}
        assert not host.folders.pod(POD).root.exists()

    in_mount_namespace(body)


@pytest.mark.parametrize(
    ("pod", "volume"),
    [
        pytest.param("../../etc", "csi-1", id="a pod UID that is a path"),
        pytest.param(POD, "../owner", id="a volume id that is a path"),
        pytest.param("", "csi-1", id="no pod UID"),
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(host: Host, pod: str, volume: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        host.folders.volume(pod, volume)


def test_a_new_shim_gets_a_folder_of_its_own_and_the_old_one_stays(tmp_path: Path) -> None:
    folders, built = Folders(tmp_path / "run"), tmp_path / "built"
    built.mkdir()
    (built / "libcuda.so.1").write_bytes(b"one")
    first = install_library(built, folders)
    (built / "libcuda.so.1").write_bytes(b"two")
    second = install_library(built, folders)
    assert (first / "libcuda.so.1").read_bytes() == b"one"
    assert (second / "libcuda.so.1").read_bytes() == b"two"
