"""What config-hasgpu and the Deployment say of the things that GPU pods are given."""

from __future__ import annotations

import pytest
from hasgpu.settings.hasgpu import parse_hasgpu
from hasgpu_webhook.observer import to_injection

RELEASED = "registry.example.com/team/hasgpu-sidecar:1"


@pytest.mark.parametrize(
    ("data", "image"),
    [
        pytest.param({}, RELEASED, id="without a setting the sidecar is the one that was installed"),
        pytest.param({"sidecar-image": "mirror/sidecar:7"}, "mirror/sidecar:7", id="a setting names another"),
    ],
)
def test_the_sidecars_image(data: dict[str, str], image: str) -> None:
    assert to_injection(parse_hasgpu(data), RELEASED).sidecar_image == image
