"""What holds in every room: a busy machine fails no test, and no test disturbs what another one measures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; what may not take long counts its work or its CPU time.
settings.register_profile("hasgpu", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hasgpu")

ON_THE_CLOCK = tuple(Path(__file__).with_name(room) for room in ("emulated_gpu", "shim"))
"""Rooms that measure kernels of real processes in real time: two of them at once would measure each other."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core, since tests wait for servers and processes of their own; eight do, since each imports everything."""
    return min(8, 2 * len(os.sched_getaffinity(0)))


def pytest_itemcollected(item: pytest.Item) -> None:
    """What measures in real time is one worker's; the others take tests one by one."""
    if item.config.pluginmanager.has_plugin("xdist") and any(map(item.path.is_relative_to, ON_THE_CLOCK)):
        item.add_marker(pytest.mark.xdist_group("on the clock"))
