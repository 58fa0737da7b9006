"""The runtime wrapper: who asks for a GPU gets the driver and that GPU; everybody else's config stays as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.emulated_gpu.node import BUILD, Node

POD = "275c0292-a318-4c9b-95b5-95ac50617842"


def config(visible: str | None, cgroup: str = f"/kubepods/burstable/pod{POD}/25bf2a95") -> dict[str, Any]:
    """As containerd writes it, with what could lead a scanner astray."""
    env = ["PATH=/usr/bin", 'MOTTO="mounts":[{', "NVIDIA_VISIBLE_DEVICES=void"]
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": False,
            "user": {"uid": 1234, "additionalGids": [0]},
            "args": ["/bin/sh", "-c", 'echo "]}," \\ {'],
            "env": env if visible is None else [*env, f"NVIDIA_VISIBLE_DEVICES={visible}"],
            "oomScoreAdj": -997,
        },
        "root": {"path": "rootfs", "readonly": True},
        "annotations": {"mounts": "[1, 2", "deep": "\\"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
        "linux": {"resources": {"devices": [{"allow": False, "major": -1}]}, "cgroupsPath": cgroup},
    }


def create(
    node: Node, bundle: Path, given: dict[str, Any], indent: int | None = None
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    (bundle / "config.json").write_text(json.dumps(given, indent=indent))
    runc = bundle / "runc"
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    done = subprocess.run(
        [BUILD / "nvidia-runc", "--log", bundle / "log", "create", "--bundle", bundle, "id"],
        env=node.environment(HASGPU_EMULATED_RUNC=str(runc)),
        capture_output=True,
        text=True,
        check=False,
    )
    return done, json.loads((bundle / "config.json").read_text())


@pytest.mark.parametrize("indent", [None, 2], ids=["as containerd writes it", "indented"])
@pytest.mark.parametrize(
    ("visible", "gpus"), [("1", [1]), ("all", [0, 1]), ("0,1", [0, 1])], ids=["an index", "all", "a list"]
)
def test_a_container_that_names_gpus_gets_driver_and_state(
    node: Node, tmp_path: Path, visible: str, gpus: list[int], indent: int | None
) -> None:
    given = config(visible)
    done, edited = create(node, tmp_path, given, indent)
    assert done.stdout.split() == ["--log", f"{tmp_path}/log", "create", "--bundle", str(tmp_path), "id"]
    added = {mount["destination"]: mount for mount in edited["mounts"][1:]}
    driver = ["lib64/libcuda.so.1", "lib64/libnvidia-ml.so.1", "bin/nvidia-cuda-mps-control"]
    states = [f"/run/hasgpu-emulated/gpus/{gpu}" for gpu in gpus]
    assert list(added) == [*(f"/usr/local/nvidia/{name}" for name in driver), *states]
    assert all(Path(mount["source"]).exists() for mount in added.values())
    assert all(("rw" if target in states else "ro") in mount["options"] for target, mount in added.items())
    assert edited["process"]["env"][-1] == f"HASGPU_EMULATED_POD={POD}"
    edited["mounts"], edited["process"]["env"] = edited["mounts"][:1], edited["process"]["env"][:-1]
    assert edited == given


def test_a_gpu_is_named_by_its_uuid(node: Node, tmp_path: Path) -> None:
    uuid = (node.root / "gpus" / "1" / "uuid").read_text().strip()
    _, edited = create(node, tmp_path, config(uuid))
    assert edited["mounts"][-1]["source"] == str(node.root / "gpus" / "1")


def test_the_pod_is_found_in_a_systemd_cgroup_path_too(node: Node, tmp_path: Path) -> None:
    path = f"kubepods-burstable-pod{POD.replace('-', '_')}.slice:cri-containerd:25bf"
    _, edited = create(node, tmp_path, config("0", path))
    assert edited["process"]["env"][-1] == f"HASGPU_EMULATED_POD={POD}"


@pytest.mark.parametrize("visible", [None, "", "void", "none"], ids=["its image says void", "empty", "void", "none"])
def test_others_are_left_alone(node: Node, tmp_path: Path, visible: str | None) -> None:
    given = config(visible)
    done, edited = create(node, tmp_path, given)
    assert done.returncode == 0
    assert edited == given


def test_an_unknown_gpu_fails_the_container_with_its_name(node: Node, tmp_path: Path) -> None:
    given = config("GPU-gone")
    done, edited = create(node, tmp_path, given)
    assert (done.returncode, done.stdout) == (1, "")
    assert edited == given
    assert json.loads((tmp_path / "log").read_text())["msg"] == "nvidia-runc: unknown device: GPU-gone"
