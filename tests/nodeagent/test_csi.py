"""The driver as the kubelet calls it: gRPC over unix sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hasgpu.nodeagent import csi_pb2, registration_pb2
from hasgpu.nodeagent.csi import CsiDriver
from hasgpu.nodeagent.volumes import Volumes

from tests.nodeagent.test_slices import Node, pod, uid


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "run")


@pytest.fixture
def kubelet(node: Node, tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="csi") as short:  # a socket's path has 107 characters at most
        driver = CsiDriver("node1", Path(short), Volumes(node.folders, tmp_path), node.slices)
        driver.start()
        yield Path(short)
        driver.stop()


def call(socket: Path, method: str, request: Any, response: Any) -> Any:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        ask = channel.unary_unary(
            method, request_serializer=lambda message: message.SerializeToString(), response_deserializer=response
        )
        return ask(request, timeout=5)


def publish(kubelet: Path, number: int, **changes: str) -> Any:
    attributes = {
        "part": "page",
        "csi.storage.k8s.io/ephemeral": "true",
        "csi.storage.k8s.io/pod.uid": uid(number),
        "csi.storage.k8s.io/pod.namespace": "default",
        "csi.storage.k8s.io/pod.name": f"pod-{number}",
    } | {key.replace("_", "."): value for key, value in changes.items() if key != "target_path"}
    target = changes.get("target_path", str(kubelet / "pods" / uid(number) / "mount"))
    request = csi_pb2.NodePublishVolumeRequest(volume_id="csi-1", target_path=target, volume_context=attributes)
    return call(
        kubelet / "plugins" / "pages.hasgpu.dev" / "csi.sock",
        "/csi.v1.Node/NodePublishVolume",
        request,
        csi_pb2.NodePublishVolumeResponse.FromString,
    )


def test_the_kubelet_learns_name_and_endpoint(kubelet: Path) -> None:
    info = call(
        kubelet / "plugins_registry" / "pages.hasgpu.dev-reg.sock",
        "/pluginregistration.Registration/GetInfo",
        registration_pb2.InfoRequest(),
        registration_pb2.PluginInfo.FromString,
    )
    assert (info.type, info.name, list(info.supported_versions)) == ("CSIPlugin", "pages.hasgpu.dev", ["1.0.0"])
    node_info = call(
        Path(info.endpoint),
        "/csi.v1.Node/NodeGetInfo",
        csi_pb2.NodeGetInfoRequest(),
        csi_pb2.NodeGetInfoResponse.FromString,
    )
    assert node_info.node_id == "node1"


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        pytest.param({"part": "disk"}, "INVALID_ARGUMENT", "part must be one of page, schedule", id="unknown part"),
        pytest.param({"target_path": "/etc/cron.d"}, "INVALID_ARGUMENT", "not a pod's", id="a target elsewhere"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(kubelet: Path, changes: dict[str, str], code: str, said: str) -> None:
    with pytest.raises(grpc.RpcError, match=said) as refused:
        publish(kubelet, 1, **changes)
    assert refused.value.code().name == code


def test_a_target_that_climbs_out_of_the_pods_folder_is_refused(kubelet: Path) -> None:
    with pytest.raises(grpc.RpcError, match="not a pod's"):
        publish(kubelet, 1, target_path=f"{kubelet}/pods/../../etc")


def test_a_pod_that_nobody_placed_is_refused_with_the_reason(kubelet: Path, node: Node) -> None:
    node.see(pod(1, None))
    with pytest.raises(grpc.RpcError, match="pod default/pod-1 gets no GPU: it has no slice") as refused:
        publish(kubelet, 1)
    assert refused.value.code().name == "FAILED_PRECONDITION"
