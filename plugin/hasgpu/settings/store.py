"""Settings: what is in force. Lives at a process's edge; the process hands in ConfigMaps as they change.

Invariant: a ConfigMap that can't be used changes nothing: the last good settings stay, and the error can be read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from . import autoscaler, hasgpu, knative
from .autoscaler import AutoscalerSettings, parse_autoscaler
from .errors import SettingsError
from .hasgpu import HasgpuSettings, parse_hasgpu
from .knative import (
    DeploymentSettings,
    LeaderElectionSettings,
    LoggingSettings,
    NetworkSettings,
    ObservabilitySettings,
    parse_deployment,
    parse_leader_election,
    parse_logging,
    parse_network,
    parse_observability,
)

log = logging.getLogger(__name__)

S = TypeVar("S")


class Setting(Generic[S]):
    """The settings of one ConfigMap: read ``value``, which is frozen."""

    def __init__(self, parse: Callable[[Mapping[str, str]], S], *, key_by_key: bool = False) -> None:
        """``key_by_key``: where the first texts can't all be used, those that can are; else none is."""
        self._parse, self._key_by_key = parse, key_by_key
        self.value: S = parse({})
        self.error: SettingsError | None = None

    def put(self, data: Mapping[str, str]) -> bool:
        """Takes new texts; True where the settings in force changed."""
        try:
            parsed, self.error = self._parse(data), None
        except SettingsError as error:
            self.error = error
            if not self._key_by_key:
                log.error("%s; the settings before stay in force", error)
                return False
            log.error("%s; this process has just begun, and takes the others", error)
            parsed = self._without(data, error)
        self._key_by_key = False
        changed = parsed != self.value
        self.value = parsed
        return changed

    def _without(self, data: Mapping[str, str], error: SettingsError) -> S:
        """What the usable texts say; each of the others is at its default."""
        left = dict(data)
        while left.pop(error.key, None) is not None:
            try:
                return self._parse(left)
            except SettingsError as another:
                error = another
        return self.value


class ConfigStore:
    """All settings of a process. ``put`` may be called from any thread; listeners run in it."""

    def __init__(self, *, on_change: Callable[[str], None] | None = None) -> None:
        self.autoscaler: Setting[AutoscalerSettings] = Setting(parse_autoscaler)
        self.deployment: Setting[DeploymentSettings] = Setting(parse_deployment)
        self.network: Setting[NetworkSettings] = Setting(parse_network)
        self.leader_election: Setting[LeaderElectionSettings] = Setting(parse_leader_election)
        self.observability: Setting[ObservabilitySettings] = Setting(parse_observability)
        self.logging: Setting[LoggingSettings] = Setting(parse_logging)
        self.hasgpu: Setting[HasgpuSettings] = Setting(parse_hasgpu, key_by_key=True)
        self._on_change = on_change or (lambda name: None)
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The ConfigMaps that matter."""
        return tuple(self._by_name())

    def put(self, name: str, data: Mapping[str, str]) -> SettingsError | None:
        """Takes a ConfigMap as it is now; other ConfigMaps are ignored. Returns what is wrong."""
        setting = self._by_name().get(name)
        if setting is None:
            return None
        with self._lock:
            changed = setting.put(data)
        if changed:
            log.info("%s: changed", name)
            self._on_change(name)
        return setting.error

    def errors(self) -> tuple[SettingsError, ...]:
        """What is wrong now."""
        return tuple(each.error for each in self._by_name().values() if each.error is not None)

    def _by_name(
        self,
    ) -> dict[
        str,
        Setting[AutoscalerSettings]
        | Setting[DeploymentSettings]
        | Setting[NetworkSettings]
        | Setting[LeaderElectionSettings]
        | Setting[ObservabilitySettings]
        | Setting[LoggingSettings]
        | Setting[HasgpuSettings],
    ]:
        return {
            autoscaler.NAME: self.autoscaler,
            knative.DEPLOYMENT: self.deployment,
            knative.NETWORK: self.network,
            knative.LEADER_ELECTION: self.leader_election,
            knative.OBSERVABILITY: self.observability,
            knative.LOGGING: self.logging,
            hasgpu.NAME: self.hasgpu,
        }
