"""Load as Knative's activators and queue-proxies report it."""

from __future__ import annotations

import msgspec

from .keys import RevisionKey


class StatMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One reporter's last second of one revision (knative/serving pkg/autoscaler/metrics/stat.proto).

    A Struct, since thousands are made a second: a frozen dataclass takes six times as long.
    """

    key: RevisionKey
    pod_name: str
    average_concurrent_requests: float
    average_proxied_concurrent_requests: float
    request_count: float
    proxied_request_count: float
    process_uptime_s: float
    timestamp_s: float
    """Unix seconds; 0 where the reporter leaves it to the receiver."""
