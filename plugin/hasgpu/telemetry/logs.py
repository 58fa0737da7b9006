"""Adapter telemetry: log lines as JSON on stderr, one a line. Formats; never decides what is worth telling.

Typed extras ride in ``extra=fields(namespace=..., revision=...)`` so that a decision is one line a machine can read.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any


def fields(**values: object) -> dict[str, Mapping[str, object]]:
    """What to hand as ``extra``; values that are not JSON are written as text."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """timestamp, severity, logger, message, the fields, and the error where there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "severity": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = getattr(record, "fields", None)
        if isinstance(extra, Mapping):
            line.update((key, value) for key, value in extra.items() if key not in line)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(service: str, *, level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Sets the root logger once, at the start of a process."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Connection chatter of libraries says nothing that our own errors don't.
    for noisy in ("urllib3", "opentelemetry", "websockets", "kubernetes"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
