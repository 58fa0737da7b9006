"""Values of a ConfigMap by key: what is wrong is told with key and value. The grammar is ``model.go_values``."""

from __future__ import annotations

import pytest
from hasgpu.settings.errors import SettingsError
from hasgpu.settings.texts import Texts


def test_an_error_names_config_map_key_and_value() -> None:
    texts = Texts("config-x", {"window": "soon"})
    with pytest.raises(SettingsError) as caught:
        texts.duration_s("window", 1.0)
    assert str(caught.value) == "config-x: window = 'soon': not a duration: 'soon'"


def test_strings_are_trimmed_and_the_example_is_no_key() -> None:
    texts = Texts("config-x", {"_example": "a: b", "name": " x ", "odd": "1"})
    assert texts.text("name", "") == "x"
    assert texts.unknown() == ("odd",)
