"""Certificates in the cluster: three leaves of one authority kept in Secrets, and the bundle in the webhook's own
configuration. Whichever replica comes first makes them; the others find them. Serves no request.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from hasgpu.cluster.errors import ClusterError, Conflict, NotFound
from hasgpu.cluster.objects import Secret
from hasgpu.cluster.patch import Op, add, json_patch, pointer, test
from hasgpu.cluster.paths import MUTATING_WEBHOOKS, SECRETS, collection, named
from hasgpu.cluster.session import Session

from .authority import BUNDLE, CERTIFICATE, KEY, LeafRequest, SecretData, renewed_authority, renewed_leaf

log = logging.getLogger(__name__)

AUTHORITY_SECRET = "hasgpu-ca"
WEBHOOK_SECRET = "hasgpu-webhook-tls"
AGENT_SECRET = "hasgpu-agent-tls"
AUTOSCALER_SECRET = "hasgpu-autoscaler-tls"
CONFIGURATION = "hasgpu-webhook"
_ATTEMPTS = 5


class _Configuration(msgspec.Struct, rename="camel"):
    """What we read of our MutatingWebhookConfiguration."""

    webhooks: list[dict[str, Any]] = []


class Certificates:
    """Keeps what the Secrets hold as it should be. ``ensure`` may be called by any number of replicas at once."""

    def __init__(self, session: Session, *, namespace: str, knative_namespace: str, server_file: Path) -> None:
        self._session, self._namespace = session, namespace
        self._knative_namespace, self._server_file = knative_namespace, server_file

    def ensure(self, now_s: float) -> None:
        """One round. Raises ClusterError where this webhook itself cannot serve; other trouble is logged."""
        now = datetime.fromtimestamp(now_s, UTC)
        authority = self._reconcile(self._namespace, AUTHORITY_SECRET, lambda data: renewed_authority(data, now))

        def leaf(namespace: str, name: str, request: LeafRequest) -> SecretData:
            return self._reconcile(namespace, name, lambda data: renewed_leaf(data, authority, request, now))

        own = leaf(self._namespace, WEBHOOK_SECRET, _server("hasgpu-webhook", self._namespace))
        # Everyone trusts a new authority before anything that it signed is served.
        _try("write caBundle", lambda: self._publish(authority[BUNDLE]))
        self._write_server_file(own)
        agent = _server("hasgpu-agent", self._namespace)
        _try("issue the agents' certificate", lambda: leaf(self._namespace, AGENT_SECRET, agent))
        autoscaler = LeafRequest(
            common_name="hasgpu-autoscaler", dns_names=("hasgpu-autoscaler", "autoscaler"), client=True
        )
        _try(
            "issue the autoscaler's certificate",
            lambda: leaf(self._knative_namespace, AUTOSCALER_SECRET, autoscaler),
        )

    def _reconcile(self, namespace: str, name: str, renew: Callable[[Mapping[str, bytes]], SecretData]) -> SecretData:
        """What the Secret holds in the end. A writer that loses reads what the winner wrote, and starts from there."""
        for _ in range(_ATTEMPTS):
            found = self._find(namespace, name)
            data = {} if found is None else {key: found.value(key) or b"" for key in found.data}
            renewed = renew(data)
            if renewed == data:
                return renewed
            try:
                self._write(namespace, name, renewed, found)
            except Conflict:
                continue
            log.info("wrote Secret %s/%s", namespace, name)
            return renewed
        raise Conflict(f"Secret {namespace}/{name} changed {_ATTEMPTS} times while it was being written")

    def _find(self, namespace: str, name: str) -> Secret | None:
        try:
            return self._session.get(named(SECRETS, namespace, name), Secret)
        except NotFound:
            return None

    def _write(self, namespace: str, name: str, data: SecretData, found: Secret | None) -> None:
        metadata: dict[str, object] = {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "hasgpu", "app.kubernetes.io/component": "webhook"},
        }
        if found is not None:
            metadata |= {"resourceVersion": found.metadata.resource_version, "uid": found.metadata.uid}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        if found is None:
            self._session.request("POST", collection(SECRETS, namespace), body=body)
        else:
            self._session.request("PUT", named(SECRETS, namespace, name), body=body)

    def _publish(self, bundle: bytes) -> None:
        path, wanted = named(MUTATING_WEBHOOKS, "", CONFIGURATION), base64.b64encode(bundle).decode()
        operations: list[Op] = []
        for index, webhook in enumerate(self._session.get(path, _Configuration).webhooks):
            if webhook["clientConfig"].get("caBundle") != wanted:
                operations.append(test(pointer("webhooks", index, "name"), webhook["name"]))
                operations.append(add(pointer("webhooks", index, "clientConfig", "caBundle"), wanted))
        if operations:
            json_patch(self._session, path, operations)
            log.info("wrote caBundle of MutatingWebhookConfiguration %s", CONFIGURATION)

    def _write_server_file(self, data: SecretData) -> None:
        """Certificate and key in one file, replaced at once: a connection never meets halves of two pairs."""
        content = data[CERTIFICATE] + data[KEY]
        if self._server_file.exists() and self._server_file.read_bytes() == content:
            return
        fresh = self._server_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(self._server_file)


def _server(service: str, namespace: str) -> LeafRequest:
    name = f"{service}.{namespace}.svc"
    return LeafRequest(common_name=service, dns_names=(service, name, f"{name}.cluster.local"))


def _try(what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except ClusterError as error:
        log.warning("cannot %s: %s", what, error)
