"""What the environment says about this function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it has defaults, so that the image runs without any."""

    port: int
    model: str
    batch_size: int
    """Waiting requests that one inference answers at most."""
    threads: int
    """Requests in flight, waiting ones included: fewer would let probes starve behind a long queue."""
    streams: int
    """Inferences that may run at the same time; 1 is how most servers serialise a GPU."""
    lazy: bool
    """CUDA starts with the first request instead of with the process."""
    host_time_scale: float
    """0 leaves out the time that the model's host code takes between launches."""
    otlp_endpoint: str
    service_name: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """ValueError names the variable and its value."""
    return Settings(
        port=_number(environment, "PORT", 8080),
        model=environment.get("MODEL", "resnet50"),
        batch_size=_number(environment, "BATCH_SIZE", 1),
        threads=_number(environment, "THREADS", 128),
        streams=_number(environment, "STREAMS", 1),
        lazy=environment.get("CUDA_START", "eager") == "lazy",
        host_time_scale=_fraction(environment, "HOST_TIME_SCALE", 1.0),
        otlp_endpoint=environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        service_name=environment.get("OTEL_SERVICE_NAME") or environment.get("K_SERVICE") or "inference",
    )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name}={text!r}: a whole number of at least 1 is wanted")
    return int(text)


def _fraction(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise ValueError(f"{name}={text!r}: a number of at least 0 is wanted")
    return value
