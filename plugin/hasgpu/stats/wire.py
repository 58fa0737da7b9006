"""Adapter stats: frames of Knative's stat wire to nouns and back. Knows no socket."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError

from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

from .stat_pb2 import Stat, WireStatMessages

REPLICA_AGENT = "hasgpu-autoscaler"
"""The User-Agent of a replica that forwards stats: all others that connect are activators."""

_ABSURD = 1e12
"""No revision has so many requests; sums and products of less stay finite."""


class WireError(ValueError):
    """Bytes that are no stat message."""


def decode_frame(frame: bytes, received_at_s: float = 0.0) -> list[StatMessage]:
    """The messages of one websocket frame; those without a stat, a key or with a number that is none are skipped.

    A message that bears no time gets ``received_at_s``.
    """
    try:
        wire = WireStatMessages.FromString(frame)
    except DecodeError as error:
        raise WireError(f"not a WireStatMessages frame of {len(frame)} bytes: {error}") from error
    messages = []
    for each in wire.messages:
        namespace, name = each.namespace, each.name
        if namespace and name and each.HasField("stat"):
            message = _message(RevisionKey(namespace, name), each.stat, received_at_s)
            if message is not None:
                messages.append(message)
    return messages


def encode_frame(messages: Iterable[StatMessage]) -> bytes:
    """One frame of the messages, for another replica."""
    wire = WireStatMessages()
    for message in messages:
        each = wire.messages.add(namespace=message.key.namespace, name=message.key.name)
        each.stat.pod_name = message.pod_name
        each.stat.average_concurrent_requests = message.average_concurrent_requests
        each.stat.average_proxied_concurrent_requests = message.average_proxied_concurrent_requests
        each.stat.request_count = message.request_count
        each.stat.proxied_request_count = message.proxied_request_count
        each.stat.process_uptime = message.process_uptime_s
        each.stat.timestamp = int(message.timestamp_s)
    return wire.SerializeToString()


def decode_stat(key: RevisionKey, body: bytes) -> StatMessage:
    """The one Stat that a queue-proxy answers a scrape with."""
    try:
        stat = Stat.FromString(body)
    except DecodeError as error:
        raise WireError(f"not a Stat of {len(body)} bytes: {error}") from error
    message = _message(key, stat, 0.0)
    if message is None:
        raise WireError(f"a Stat of pod {stat.pod_name!r} with a number that is none")
    return message


def _message(key: RevisionKey, stat: Stat, received_at_s: float) -> StatMessage | None:
    """None where a number is none or absurd: one would poison a window. Each field is read once: reading costs."""
    concurrency, proxied = stat.average_concurrent_requests, stat.average_proxied_concurrent_requests
    requests, proxied_requests = stat.request_count, stat.proxied_request_count
    # Not true of NaN either.
    if not abs(concurrency) + abs(proxied) + abs(requests) + abs(proxied_requests) < _ABSURD:
        return None
    return StatMessage(
        key=key,
        pod_name=stat.pod_name,
        average_concurrent_requests=concurrency,
        average_proxied_concurrent_requests=proxied,
        request_count=requests,
        proxied_request_count=proxied_requests,
        process_uptime_s=stat.process_uptime,
        timestamp_s=float(stat.timestamp) or received_at_s,
    )
