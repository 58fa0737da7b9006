"""The CSI driver pages.hasgpu.dev for the kubelet: identity, node service and registration over unix sockets.

A publish answers once the pod's slice is live, so no container of a pod starts before its gate knows it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc

from hasgpu.model.annotations import CSI_DRIVER

from . import csi_pb2, registration_pb2
from .slices import Slices
from .volumes import PARTS, Part, Volume, Volumes

log = logging.getLogger(__name__)

# The kubelet gives a call two minutes; a pod that waits this long is told why, and asked for again.
LIVE_WITHIN_S = 30.0
# A kubelet runs 110 pods; all five volumes of each may wait, and unpublishing must still get through.
_THREADS = 640


class CsiDriver:
    """Serves the kubelet from two sockets; ``stop`` removes them."""

    def __init__(self, node: str, kubelet: Path, volumes: Volumes, slices: Slices) -> None:
        self._node, self._kubelet = node, kubelet
        self._volumes, self._slices = volumes, slices
        self._endpoint = kubelet / "plugins" / CSI_DRIVER / "csi.sock"
        self._registration = kubelet / "plugins_registry" / f"{CSI_DRIVER}-reg.sock"
        self._servers: list[grpc.Server] = []

    def start(self) -> None:
        """Listens for calls first, then tells the kubelet where."""
        self._serve(self._endpoint, {"csi.v1.Identity": self._identity(), "csi.v1.Node": self._node_service()})
        self._serve(self._registration, {"pluginregistration.Registration": self._registration_service()})

    def stop(self) -> None:
        """Lets running calls end for a moment."""
        for server in reversed(self._servers):
            server.stop(grace=1.0).wait(2.0)

    def publish(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Waits for the slice, then mounts; FAILED_PRECONDITION says what no waiting will change."""
        volume = self._volume(request, context)
        standing = self._slices.wait_live(volume.pod_uid, LIVE_WITHIN_S)
        who = f"pod {volume.namespace}/{volume.name}"
        if standing.state == "refused":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{who} gets no GPU: {standing.why}")
        if standing.state == "waiting":
            context.abort(grpc.StatusCode.UNAVAILABLE, f"{who} waits for its slice: {standing.why}")
        try:
            self._volumes.publish(volume, standing.gpu_uuid)
        except OSError as error:
            log.error("publish %s of %s: %s", volume.part, who, error)
            context.abort(grpc.StatusCode.INTERNAL, f"{volume.part} of {who}: {error}")
        return csi_pb2.NodePublishVolumeResponse()

    def unpublish(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Succeeds also for what was never mounted."""
        target = self._target(request, context)
        try:
            self._volumes.unpublish(request.volume_id, target)
        except (OSError, ValueError) as error:
            log.error("unpublish %s: %s", target, error)
            context.abort(grpc.StatusCode.INTERNAL, f"{target}: {error}")
        return csi_pb2.NodeUnpublishVolumeResponse()

    def _volume(self, request: Any, context: grpc.ServicerContext) -> Volume:
        attributes = dict(request.volume_context)
        part = attributes.get("part", "")
        if part not in PARTS:
            allowed = ", ".join(PARTS)
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"volumeAttributes.part must be one of {allowed}, was: {part!r}"
            )
        if attributes.get("csi.storage.k8s.io/ephemeral") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{CSI_DRIVER} serves inline ephemeral volumes only")
        return Volume(
            volume_id=request.volume_id,
            target=self._target(request, context),
            part=cast("Part", part),  # one of PARTS, see above
            pod_uid=attributes.get("csi.storage.k8s.io/pod.uid", ""),
            namespace=attributes.get("csi.storage.k8s.io/pod.namespace", ""),
            name=attributes.get("csi.storage.k8s.io/pod.name", ""),
        )

    def _target(self, request: Any, context: grpc.ServicerContext) -> Path:
        """The target, where it lies below the kubelet's pods."""
        target = Path(request.target_path)
        if ".." in target.parts or not target.is_relative_to(self._kubelet / "pods"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"target path is not a pod's: {request.target_path!r}")
        return target

    def _identity(self) -> dict[str, grpc.RpcMethodHandler]:
        ready = csi_pb2.ProbeResponse()
        ready.ready.value = True
        info = csi_pb2.GetPluginInfoResponse(name=CSI_DRIVER, vendor_version="1")
        nothing = csi_pb2.GetPluginCapabilitiesResponse()
        return {
            "GetPluginInfo": _method(csi_pb2.GetPluginInfoRequest, lambda *_: info),
            "GetPluginCapabilities": _method(csi_pb2.GetPluginCapabilitiesRequest, lambda *_: nothing),
            "Probe": _method(csi_pb2.ProbeRequest, lambda *_: ready),
        }

    def _node_service(self) -> dict[str, grpc.RpcMethodHandler]:
        info = csi_pb2.NodeGetInfoResponse(node_id=self._node)
        nothing = csi_pb2.NodeGetCapabilitiesResponse()
        return {
            "NodePublishVolume": _method(csi_pb2.NodePublishVolumeRequest, self.publish),
            "NodeUnpublishVolume": _method(csi_pb2.NodeUnpublishVolumeRequest, self.unpublish),
            "NodeGetCapabilities": _method(csi_pb2.NodeGetCapabilitiesRequest, lambda *_: nothing),
            "NodeGetInfo": _method(csi_pb2.NodeGetInfoRequest, lambda *_: info),
        }

    def _registration_service(self) -> dict[str, grpc.RpcMethodHandler]:
        info = registration_pb2.PluginInfo(
            type="CSIPlugin", name=CSI_DRIVER, endpoint=str(self._endpoint), supported_versions=["1.0.0"]
        )
        return {
            "GetInfo": _method(registration_pb2.InfoRequest, lambda *_: info),
            "NotifyRegistrationStatus": _method(registration_pb2.RegistrationStatus, _registered),
        }

    def _serve(self, socket: Path, services: dict[str, dict[str, grpc.RpcMethodHandler]]) -> None:
        socket.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()  # of an agent that was killed
        server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="csi"))
        for name, methods in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        self._servers.append(server)


def _registered(status: Any, _: grpc.ServicerContext) -> Any:
    if status.plugin_registered:
        log.info("registered with the kubelet as %s", CSI_DRIVER)
    else:
        log.error("the kubelet refused %s: %s", CSI_DRIVER, status.error)
    return registration_pb2.RegistrationStatusResponse()


def _method(request: Any, handler: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        handler,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
