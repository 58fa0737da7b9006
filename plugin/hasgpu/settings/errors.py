"""Settings: what is wrong with a ConfigMap, by its key and value."""

from __future__ import annotations


class SettingsError(Exception):
    """A value that can't be used. The one used before stays in force."""

    def __init__(self, config_map: str, key: str, value: object, why: str) -> None:
        super().__init__(f"{config_map}: {key} = {value!r}: {why}")
        self.config_map, self.key, self.value, self.why = config_map, key, value, why
