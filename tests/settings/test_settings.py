"""Each ConfigMap: defaults, rules, and what stays in force when a value can't be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from hasgpu.settings.autoscaler import AutoscalerSettings, parse_autoscaler
from hasgpu.settings.errors import SettingsError
from hasgpu.settings.hasgpu import HasgpuSettings, Toleration, parse_hasgpu
from hasgpu.settings.knative import (
    DeploymentSettings,
    LeaderElectionSettings,
    ObservabilitySettings,
    parse_deployment,
    parse_leader_election,
    parse_logging,
    parse_network,
    parse_observability,
)
from hasgpu.settings.store import ConfigStore

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("data", "fraction"),
    [
        pytest.param({}, 0.7, id="the default"),
        pytest.param({"container-concurrency-target-percentage": "55"}, 0.55, id="a percentage"),
        pytest.param({"container-concurrency-target-percentage": "0.55"}, 0.55, id="a fraction, for legacy reasons"),
        pytest.param({"container-concurrency-target-percentage": "1"}, 1.0, id="one is a fraction: all of it"),
    ],
)
def test_the_target_percentage_may_be_a_fraction(data: dict[str, str], fraction: float) -> None:
    assert parse_autoscaler(data).container_concurrency_target_fraction == fraction


def test_an_empty_config_autoscaler_is_knatives_defaults() -> None:
    assert parse_autoscaler({"_example": "min-scale: 7", "someday": "x"}) == AutoscalerSettings()


@pytest.mark.parametrize(
    ("data", "key"),
    [
        pytest.param({"container-concurrency-target-percentage": "0"}, None, id="a target of nothing"),
        pytest.param({"container-concurrency-target-percentage": "101"}, None, id="more than all"),
        pytest.param({"container-concurrency-target-default": "0.01"}, None, id="a target below a hundredth"),
        pytest.param({"requests-per-second-target-default": "0.001"}, None, id="an rps target below a hundredth"),
        pytest.param({"target-burst-capacity": "-2"}, None, id="only -1 is unlimited"),
        pytest.param({"stable-window": "5s"}, None, id="a window below 6 s"),
        pytest.param({"stable-window": "61m"}, None, id="a window above an hour"),
        pytest.param({"stable-window": "10500ms"}, None, id="half a second of window"),
        pytest.param({"panic-window-percentage": "0.5"}, None, id="half a percent of panic"),
        pytest.param({"max-scale-up-rate": "1.0"}, None, id="a rate that never grows"),
        pytest.param({"max-scale-down-rate": "1"}, None, id="a rate that never shrinks"),
        pytest.param({"scale-to-zero-grace-period": "0s"}, None, id="no grace at all"),
        pytest.param({"scale-to-zero-pod-retention-period": "-1s"}, None, id="retention in the past"),
        pytest.param({"scale-down-delay": "1500ms"}, None, id="a delay of one and a half seconds"),
        pytest.param({"activator-capacity": "0.9"}, None, id="less than one request an activator"),
        pytest.param({"initial-scale": "0"}, None, id="zero initial scale where it is not allowed"),
        pytest.param({"min-scale": "-1"}, None, id="a negative minimum"),
        pytest.param({"max-scale": "3", "max-scale-limit": "2"}, "max-scale", id="above the limit"),
        pytest.param({"max-scale-limit": "2"}, "max-scale", id="a limit needs a maximum"),
        pytest.param({"min-scale": "3", "max-scale": "2"}, "min-scale", id="minimum above maximum"),
        pytest.param({"enable-scale-to-zero": "yes"}, None, id="yes is no boolean"),
        pytest.param({"min-scale": "1.5"}, None, id="half a pod"),
    ],
)
def test_knatives_rules_are_kept(data: dict[str, str], key: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_autoscaler(data)
    key = key or next(iter(data))
    assert str(caught.value).startswith(f"config-autoscaler: {key} = ")


def test_zero_initial_scale_may_be_allowed() -> None:
    assert parse_autoscaler({"initial-scale": "0", "allow-zero-initial-scale": "true"}).initial_scale == 0


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        pytest.param(parse_deployment, {"progress-deadline": "0s"}, id="no time to progress"),
        pytest.param(parse_network, {"mesh-compatibility-mode": "maybe"}, id="a mesh mode that is none"),
        pytest.param(parse_leader_election, {"buckets": "11"}, id="more than ten buckets"),
        pytest.param(parse_leader_election, {"renew-deadline": "60s"}, id="a deadline that outlives the lease"),
        pytest.param(parse_observability, {"tracing-protocol": "http/protobuf"}, id="traces that go nowhere"),
        pytest.param(parse_observability, {"tracing-endpoint": "http://x"}, id="an endpoint without protocol"),
        pytest.param(parse_observability, {"metrics-protocol": "statsd"}, id="a protocol nobody speaks"),
        pytest.param(parse_observability, {"tracing-sampling-rate": "1.1"}, id="more than every trace"),
        pytest.param(parse_logging, {"loglevel.autoscaler": "loud"}, id="a level that is none"),
        pytest.param(parse_logging, {"zap-logger-config": "{"}, id="a configuration that is no JSON"),
        pytest.param(parse_logging, {"zap-logger-config": "[]"}, id="a configuration that is a list"),
        pytest.param(parse_logging, {"zap-logger-config": '{"level": "loud"}'}, id="a common level that is none"),
    ],
)
def test_knatives_other_config_maps_are_checked(
    parse: Callable[[Mapping[str, str]], object], data: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match=r"config-[a-z-]+: [a-z.-]+ = "):
        parse(data)


def test_missing_config_maps_are_their_defaults() -> None:
    assert parse_deployment({}) == DeploymentSettings()
    assert parse_leader_election({}) == LeaderElectionSettings()
    assert parse_observability({}) == ObservabilitySettings()


@pytest.mark.parametrize(
    ("data", "level"),
    [
        pytest.param({}, "INFO", id="information where nothing is said"),
        pytest.param({"loglevel.autoscaler": "debug"}, "DEBUG", id="the autoscaler's own"),
        pytest.param({"loglevel.autoscaler": "WARN"}, "WARNING", id="in capitals"),
        pytest.param({"loglevel.controller": "debug"}, "INFO", id="another component's is not ours"),
        pytest.param({"zap-logger-config": '{"level": "error", "encoding": "json"}'}, "ERROR", id="everybody's"),
        pytest.param({"zap-logger-config": '{"encoding": "json"}'}, "INFO", id="everybody's without a level"),
        pytest.param(
            {"zap-logger-config": '{"level": "error"}', "loglevel.autoscaler": "info"}, "INFO", id="its own before all"
        ),
        pytest.param(
            {"zap-logger-config": '{"level": "error"}', "loglevel.autoscaler": ""}, "ERROR", id="an empty one is none"
        ),
    ],
)
def test_the_level_of_the_log_is_knatives(data: dict[str, str], level: str) -> None:
    assert parse_logging(data).level == level


def test_legacy_names_of_the_lease_periods_count_where_the_new_ones_are_absent() -> None:
    assert parse_leader_election({"leaseDuration": "90s"}).lease_duration_s == 90.0
    assert parse_leader_election({"leaseDuration": "90s", "lease-duration": "80s"}).lease_duration_s == 80.0


def test_traces_over_http_are_read() -> None:
    settings = parse_observability(
        {
            "tracing-protocol": "http/protobuf",
            "tracing-endpoint": "http://c:4318/v1/traces",
            "tracing-sampling-rate": "1",
        }
    )
    assert (settings.tracing_endpoint, settings.tracing_sampling_rate) == ("http://c:4318/v1/traces", 1.0)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"window": "5ms"}, id="a window shorter than a slot"),
        pytest.param({"risk-quantile": "1"}, id="no risk at all"),
        pytest.param({"season": "on"}, id="a season that is on"),
        pytest.param({"capacity-margin-percent": "95"}, id="a margin that leaves nothing"),
        pytest.param({"move-after": "-1s"}, id="moves before they could have been of use"),
        pytest.param({"lent-percent": "95"}, id="rows that give away too little for a slice"),
        pytest.param({"mps-client-limit": "61"}, id="more clients than MPS serves"),
        pytest.param({"replace": "always"}, id="an unknown way to replace"),
        pytest.param({"progress-deadline": "soon"}, id="a deadline that is no duration"),
        pytest.param({"tolerations": "{key: gpu}"}, id="a toleration that is no list"),
        pytest.param({"tolerations": "[{key: gpu, seconds: 1}]"}, id="a toleration with a foreign field"),
        pytest.param({"tolerations": "[{operator: Maybe}]"}, id="a toleration with an unknown operator"),
        pytest.param({"tolerations": "[{"}, id="tolerations that are no YAML"),
        pytest.param({"image-pull-policy": "Sometimes"}, id="an unknown pull policy"),
    ],
)
def test_config_hasgpu_refuses_by_key_and_value(data: dict[str, str]) -> None:
    (key, value) = next(iter(data.items()))
    with pytest.raises(SettingsError) as caught:
        parse_hasgpu(data)
    assert str(caught.value).startswith(f"config-hasgpu: {key} = {value!r}: ")


def test_the_example_of_the_shipped_config_map_documents_every_key_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "manifests/210-config-hasgpu.yaml").read_text())
    example = yaml.safe_load(shipped["data"]["_example"])
    assert parse_hasgpu(example) == HasgpuSettings()
    assert parse_hasgpu(shipped["data"]) == HasgpuSettings()
    fields = {name.replace("_s", "") if name.endswith("_s") else name for name in HasgpuSettings.__dataclass_fields__}
    assert {key.replace("-", "_") for key in example} == fields - {"unknown_keys"}


@pytest.mark.parametrize(
    ("data", "percent"),
    [
        pytest.param({"lent-percent": "80"}, 100, id="slots that are not lent are all given away"),
        pytest.param({"row-policy": "borrow"}, 100, id="lending alone is not counted on"),
        pytest.param({"row-policy": "borrow", "lent-percent": "80"}, 20, id="a part may be kept for lending"),
    ],
)
def test_how_much_of_a_row_is_given_away(data: dict[str, str], percent: int) -> None:
    assert parse_hasgpu(data).row_percent == percent


def test_an_unknown_key_of_ours_is_told_and_not_refused() -> None:
    assert parse_hasgpu({"windw": "40ms"}).unknown_keys == ("windw",)


def test_tolerations_and_pull_secrets_are_lists() -> None:
    settings = parse_hasgpu({"tolerations": "[{key: gpu, operator: Exists}]", "image-pull-secrets": "a, b"})
    assert settings.tolerations == (Toleration(key="gpu", operator="Exists"),)
    assert settings.image_pull_secrets == ("a", "b")


def test_a_bad_config_map_leaves_the_last_good_settings_in_force_and_says_why() -> None:
    changed: list[str] = []
    store = ConfigStore(on_change=changed.append)
    assert store.put("config-hasgpu", {"window": "50ms"}) is None
    error = store.put("config-hasgpu", {"window": "never"})
    assert error is not None
    assert store.hasgpu.value.window_s == 0.05
    assert [str(each) for each in store.errors()] == ["config-hasgpu: window = 'never': not a duration: 'never'"]
    assert store.put("config-hasgpu", {}) is None
    assert store.hasgpu.value == HasgpuSettings()
    assert store.errors() == ()
    assert changed == ["config-hasgpu", "config-hasgpu"]


def test_a_process_that_starts_with_a_bad_key_of_ours_takes_the_others() -> None:
    """Else one replica would have the defaults, and the other what was set."""
    store = ConfigStore()
    error = store.put("config-hasgpu", {"overhead": "20", "move-after": "0s", "lent-percent": "many", "season": "off"})
    assert error is not None
    assert (store.hasgpu.value.move_after_s, store.hasgpu.value.season) == (0.0, "off")
    assert (store.hasgpu.value.overhead_s, store.hasgpu.value.lent_percent) == (0.02, 0)
    assert store.put("config-hasgpu", {"move-after": "1m", "season": "often"}) is not None
    assert (store.hasgpu.value.move_after_s, store.hasgpu.value.season) == (0.0, "off")


def test_a_bad_key_of_knatives_leaves_all_to_who_asks() -> None:
    store = ConfigStore()
    assert store.put("config-autoscaler", {"stable-window": "120s", "max-scale": "many"}) is not None
    assert store.autoscaler.value == AutoscalerSettings()


def test_other_config_maps_are_none_of_our_business() -> None:
    store = ConfigStore()
    assert store.put("config-gc", {"window": "never"}) is None
    assert "config-autoscaler" in store.names
