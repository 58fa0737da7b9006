"""What holds in every room: a busy machine fails no test."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; what may not take long counts its work or its CPU time.
settings.register_profile("hasgpu", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hasgpu")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core, since tests wait for servers and processes of their own; eight do, since each imports everything."""
    return min(8, 2 * len(os.sched_getaffinity(0)))
