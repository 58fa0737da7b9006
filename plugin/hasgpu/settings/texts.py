"""Settings: the texts of one ConfigMap, read with Go's grammar as Knative reads them. No I/O, no environment.

Strings are trimmed, other types are not; a missing key is its default; ``_example`` and unknown keys are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from hasgpu.model.go_values import parse_bool, parse_float, parse_int32
from hasgpu.model.quantity import parse_duration_s

from .errors import SettingsError

EXAMPLE_KEY = "_example"


class Texts:
    """Typed access that names key and value in every error."""

    def __init__(self, config_map: str, data: Mapping[str, str]) -> None:
        self.config_map = config_map
        self._data = {key: value for key, value in data.items() if key != EXAMPLE_KEY}
        self._read: set[str] = set()

    def _raw(self, key: str) -> str | None:
        self._read.add(key)
        return self._data.get(key)

    def error(self, key: str, why: str) -> SettingsError:
        """The error for a value that reads well and makes no sense."""
        return SettingsError(self.config_map, key, self._data.get(key, ""), why)

    def require(self, holds: bool, key: str, why: str) -> None:
        """Raises unless ``holds``."""
        if not holds:
            raise self.error(key, why)

    def text(self, key: str, default: str) -> str:
        """A string, trimmed."""
        raw = self._raw(key)
        return default if raw is None else raw.strip()

    def choice(self, key: str, default: str, *allowed: str) -> str:
        """One of a few words."""
        value = self.text(key, default)
        self.require(value in allowed, key, f"must be one of {', '.join(allowed)}")
        return value

    def int32(self, key: str, default: int) -> int:
        """A whole number."""
        raw = self._raw(key)
        try:
            return default if raw is None else parse_int32(raw)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def number(self, key: str, default: float) -> float:
        """A float."""
        raw = self._raw(key)
        try:
            return default if raw is None else parse_float(raw)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def boolean(self, key: str, default: bool) -> bool:
        """A boolean."""
        raw = self._raw(key)
        try:
            return default if raw is None else parse_bool(raw)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def duration_s(self, key: str, default_s: float) -> float:
        """A Go duration in seconds."""
        raw = self._raw(key)
        try:
            return default_s if raw is None else parse_duration_s(raw)
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def unknown(self) -> tuple[str, ...]:
        """Keys that nobody read."""
        return tuple(sorted(self._data.keys() - self._read))
