"""A replica whose pod has an IPv6 address is reached there, as its probes and the activators need it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from hasgpu.autoscaler.process import Identity, Process
from hasgpu.telemetry.cloudevents import CloudEvents

from tests.autoscaler.replica import SYSTEM, Listening
from tests.cluster.fake_api import FakeApi


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_the_stat_server_listens_where_the_pod_is() -> None:
    with FakeApi() as api:
        # A port of its own: another test's replica may listen on the usual one.
        identity = Identity(pod_name="autoscaler-a", pod_ip="::1", namespace=SYSTEM, domain="cluster.local", port=18080)
        process = Process(api.session(), identity, CloudEvents(""), Listening)
        process.start()
        try:
            with urllib.request.urlopen("http://[::1]:18080/healthz", timeout=5) as answer:
                assert answer.status == 200
        finally:
            process.stop()
