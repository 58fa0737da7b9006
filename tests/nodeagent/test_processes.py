"""Whose process a process is, by its cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest
from hasgpu.model.annotations import GPU_PROCESSES
from hasgpu.model.report import PodSliceReport
from hasgpu.nodeagent.processes import beyond_told, pods_with_processes

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


@pytest.mark.parametrize(
    ("annotations", "crowded"),
    [
        pytest.param({POD: {}}, True, id="nothing said means one process"),
        pytest.param({POD: {GPU_PROCESSES: "3"}}, False, id="as many as said"),
        pytest.param({POD: {GPU_PROCESSES: "2"}}, True, id="more than said"),
        pytest.param({POD: {GPU_PROCESSES: "many"}}, False, id="what cannot be read is not judged"),
        pytest.param({}, False, id="a pod that is not known any more"),
    ],
)
def test_pods_with_more_gpu_processes_than_said(annotations: dict[str, dict[str, str]], crowded: bool) -> None:
    report = PodSliceReport(
        pod_uid=POD,
        namespace="default",
        name="busy",
        gpu_uuid="GPU-0",
        generation=1,
        quota_percent=30,
        processes=3,
        busy_ns=0,
        gated_ns=0,
        debt_ns=0,
        launches=0,
        waiting=0,
        memory_bytes=0,
        sm_count=0,
        alive=True,
    )
    assert bool(beyond_told([report], annotations)) is crowded
