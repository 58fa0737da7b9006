"""Which settings a whole replica goes by, when it starts and when ConfigMaps come and go."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hasgpu.cluster.paths import CONFIG_MAPS, METRICS, PODS, collection, named
from hasgpu.settings.errors import SettingsError

from tests.autoscaler.replica import SYSTEM, Replica, loopback_block, until
from tests.autoscaler.stage import NAME, NS, Stage
from tests.cluster.fake_api import FakeApi

AUTOSCALER = "config-autoscaler"
STAYS_UP = {"enable-scale-to-zero": "false", "min-scale": "2"}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        yield made


def put(api: FakeApi, name: str, data: dict[str, str]) -> None:
    api.create(collection(CONFIG_MAPS, SYSTEM), {"metadata": {"name": name, "namespace": SYSTEM}, "data": data})


def in_force(replica: Replica) -> tuple[bool, int]:
    settings = replica.process.settings.autoscaler.value
    return settings.enable_scale_to_zero, settings.min_scale


def test_a_configmap_that_is_deleted_changes_nothing_and_one_made_anew_does(api: FakeApi) -> None:
    put(api, AUTOSCALER, STAYS_UP)
    replica = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    assert in_force(replica) == (False, 2)
    api.delete(named(CONFIG_MAPS, SYSTEM, AUTOSCALER))
    # Events come in order: what follows the deletion shows that it was seen.
    put(api, "config-network", {"mesh-compatibility-mode": "enabled"})
    until(lambda: replica.process.settings.network.value.mesh_compatibility_mode == "enabled")
    assert in_force(replica) == (False, 2)
    put(api, AUTOSCALER, {"min-scale": "3"})
    until(lambda: in_force(replica) == (True, 3))
    replica.process.stop()


@pytest.mark.parametrize("name", [AUTOSCALER, "config-deployment", "config-leader-election"])
def test_a_replica_does_not_start_beside_a_configmap_of_knatives_that_it_cannot_use(api: FakeApi, name: str) -> None:
    key = {AUTOSCALER: "stable-window", "config-deployment": "progress-deadline"}.get(name, "lease-duration")
    put(api, name, {**STAYS_UP, key: "1 minute"})
    with pytest.raises(SettingsError, match=f"{name}: {key} = '1 minute'"):
        Replica(api, "autoscaler-a", f"{loopback_block()}.2")


def test_a_replica_starts_beside_settings_of_gpu_services_that_it_cannot_use(api: FakeApi) -> None:
    put(api, "config-hasgpu", {"window": "much"})
    put(api, AUTOSCALER, STAYS_UP)
    replica = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    assert in_force(replica) == (False, 2)
    assert [error.config_map for error in replica.process.settings.errors()] == ["config-hasgpu"]
    replica.process.stop()


def test_the_level_of_the_log_follows_knatives_configmap_while_the_replica_runs(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # puts the level back afterwards
    put(api, "config-logging", {"loglevel.autoscaler": "warn"})
    replica = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    assert logging.getLogger().level == logging.WARNING
    api.merge(named(CONFIG_MAPS, SYSTEM, "config-logging"), {"data": {"loglevel.autoscaler": "debug"}})
    until(lambda: logging.getLogger().level == logging.DEBUG)
    replica.process.stop()


def test_a_replica_starts_beside_a_level_of_the_log_that_is_none(api: FakeApi) -> None:
    put(api, "config-logging", {"loglevel.autoscaler": "loud"})
    replica = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    assert [error.config_map for error in replica.process.settings.errors()] == ["config-logging"]
    replica.process.stop()


def test_a_mesh_that_hides_pods_is_told_once_at_the_start_and_once_when_it_comes(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> int:
        return sum("mesh-compatibility-mode" in each.message for each in caplog.records if each.levelname == "ERROR")

    put(api, "config-network", {"mesh-compatibility-mode": "enabled"})
    replica = Replica(api, "autoscaler-a", f"{loopback_block()}.2")
    assert told() == 1
    path = named(CONFIG_MAPS, SYSTEM, "config-network")
    api.merge(path, {"data": {"mesh-compatibility-mode": "auto", "other": "1"}})
    until(lambda: not replica.process.settings.network.value.hides_pods)
    assert told() == 1
    api.merge(path, {"data": {"mesh-compatibility-mode": "enabled"}})
    until(lambda: told() == 2)
    replica.process.stop()


def test_where_a_mesh_may_hide_the_pods_that_do_not_answer_their_metric_says_so(api: FakeApi) -> None:
    block = loopback_block()
    put(api, "config-network", {"mesh-compatibility-mode": "enabled"})
    replica = Replica(api, "autoscaler-a", f"{block}.2")
    on = Stage(api)
    on.pods(ready=1)
    api.merge(named(PODS, NS, "pod-1"), {"status": {"podIP": f"{block}.9"}})
    spec = {"stableWindow": 60_000_000_000, "panicWindow": 6_000_000_000, "scrapeTarget": "hello-00001-private"}
    api.create(collection(METRICS, NS), {"metadata": {"name": NAME}, "spec": spec})

    def message() -> str:
        (condition,) = on.now(METRICS).get("status", {}).get("conditions") or [{}]
        return str(condition.get("message", ""))

    until(lambda: "0 of 1 pods answered" in message() and "mesh-compatibility-mode" in message())
    replica.process.stop()
