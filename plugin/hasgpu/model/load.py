"""Load as Knative's activators and queue-proxies report it."""

from __future__ import annotations

from dataclasses import dataclass

from .keys import RevisionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StatMessage:
    """One reporter's last second of one revision (knative/serving pkg/autoscaler/metrics/stat.proto)."""

    key: RevisionKey
    pod_name: str
    average_concurrent_requests: float
    average_proxied_concurrent_requests: float
    request_count: float
    proxied_request_count: float
    process_uptime_s: float
    timestamp_s: float
    """Unix seconds; 0 where the reporter leaves it to the receiver."""
