"""Whose process a process is, by its cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest
from hasgpu.nodeagent.processes import pods_with_processes

POD = "c4dacb79-c83f-4c7d-9c6b-32d7b4cddcca"
OTHER = "2ce10e35-39e4-4900-945f-3336a678bf8c"


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param(f"4:memory:/kubepods/burstable/pod{POD}/4be1\n0::/\n", id="cgroupfs on version 1"),
        pytest.param(
            f"0::/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/cri-containerd-4be1.scope\n",
            id="systemd on version 2",
        ),
        pytest.param(f"0::/../../pod{POD}/4be1\n", id="seen from another cgroup namespace"),
    ],
)
def test_a_process_is_found_by_the_pod_in_its_cgroup(tmp_path: Path, groups: str) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "cgroup").write_text(groups)
    (tmp_path / "sys").mkdir()
    (tmp_path / "18").mkdir()  # gone while we look
    assert pods_with_processes({POD, OTHER}, tmp_path) == {POD}
