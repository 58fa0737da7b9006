"""One reconcile after another: what is written, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hasgpu.autoscaler.owned import NotOwnedError
from hasgpu.autoscaler.reconciler import ReconcileError
from hasgpu.autoscaler.scaling_class import Wanted
from hasgpu.cluster.errors import Conflict, Unreachable
from hasgpu.cluster.paths import METRICS, SERVERLESS_SERVICES, named

from tests.autoscaler.stage import ACTIVE, INACTIVE, KEY, LABELS, NAME, NOW, NS, Stage, conditions, stage, stamp

HAS = {"autoscaling.knative.dev/class": "has.autoscaling.hasgpu.dev"}
UNLIMITED = {"autoscaling.knative.dev/target-burst-capacity": "-1"}
STATUS = f"PATCH podautoscalers/{NAME}/status"
SCALE = f"PATCH deployments/{NAME}-deployment/scale"


@pytest.fixture
def on() -> Iterator[Stage]:
    with stage() as made:
        yield made


def steady(on: Stage, **wish: int) -> None:
    """An active revision with one pod, nothing to do."""
    on.pa({"conditions": conditions(**ACTIVE)})
    on.deployment(1)
    on.sks(activators=4)
    on.pods(ready=1)
    on.kpa.wish = Wanted(pods=wish.get("pods", 1), excess_burst_capacity=wish.get("ebc", -1))
    on.reconcile()


def test_a_new_revision_gets_its_sks_first_and_nothing_is_known_yet(on: Stage) -> None:
    on.pa()
    on.deployment(1)
    on.reconcile()
    assert on.written() == ["POST serverlessservices", STATUS]
    made = on.now(SERVERLESS_SERVICES)
    assert (made["spec"]["mode"], made["spec"]["numActivators"]) == ("Proxy", 2)
    assert made["metadata"]["labels"] == LABELS
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("pa-uid", True, True)
    assert (on.status["desiredScale"], on.status["actualScale"], on.status["serviceName"]) == (-1, 0, "")
    assert on.condition("SKSReady") == ("Unknown", "NotReady")
    assert on.condition("Active") == ("Unknown", "Queued")


def test_once_the_private_service_is_there_metric_and_scale_follow(on: Stage) -> None:
    on.pa()
    on.deployment(1)
    on.sks(ready=False)
    on.kpa.wish = Wanted(pods=-1, excess_burst_capacity=-111)
    on.reconcile()
    assert on.now(METRICS)["spec"] == {
        "stableWindow": 60_000_000_000,
        "panicWindow": 6_000_000_000,
        "scrapeTarget": f"{NAME}-private",
    }
    assert on.status["metricsServiceName"] == f"{NAME}-private"
    assert on.replicas == 1


def test_a_steady_revision_costs_no_write(on: Stage) -> None:
    steady(on)
    on.reconcile()
    assert on.written() == []


def test_more_load_scales_the_deployment_through_its_scale_subresource(on: Stage) -> None:
    steady(on, pods=5)
    assert on.written()[:2] == ["POST metrics", SCALE]
    assert on.scaled == [(1, 5)]
    assert (on.replicas, on.status["desiredScale"], on.status["actualScale"]) == (5, 5, 1)


def test_enough_burst_capacity_takes_the_activator_out_of_the_path(on: Stage) -> None:
    steady(on, ebc=0)
    assert on.now(SERVERLESS_SERVICES)["spec"]["mode"] == "Serve"


def test_an_unknown_wish_puts_the_activator_back_and_keeps_the_known_scale(on: Stage) -> None:
    on.pa({"conditions": conditions(**ACTIVE)})
    on.deployment(7)
    on.sks(mode="Serve", activators=10)
    on.pods(ready=7)
    on.kpa.wish = Wanted(pods=-1, excess_burst_capacity=-1)
    on.reconcile()
    assert on.now(SERVERLESS_SERVICES)["spec"] == {
        "mode": "Proxy",
        "objectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-deployment"},
        "protocolType": "http1",
        "numActivators": 10,
    }
    assert (on.replicas, on.status["desiredScale"]) == (7, 1)


def test_the_first_ready_pod_initializes_and_activates(on: Stage) -> None:
    on.pa({"conditions": conditions(Active="Unknown Queued", Ready="Unknown Queued"), "actualScale": 0})
    on.deployment(1)
    on.sks()
    on.pods(ready=1)
    on.reconcile()
    for each in ("Active", "ScaleTargetInitialized", "SKSReady", "Ready"):
        assert on.condition(each) == ("True", "")


def test_the_initial_scale_must_be_reached_first(on: Stage) -> None:
    on.pa(annotations={"autoscaling.knative.dev/initial-scale": "3"})
    on.deployment(3)
    on.sks()
    on.pods(ready=2)
    on.reconcile()
    assert on.condition("ScaleTargetInitialized") == ("Unknown", "")
    assert on.replicas == 3
    on.pods(ready=1)
    on.reconcile()
    assert on.condition("ScaleTargetInitialized") == ("True", "")


def idle(on: Stage, active_s: float = 100, **facts: object) -> None:
    """A revision that wants no pods."""
    inactive = bool(facts.get("inactive"))
    on.pa({"conditions": conditions(active_s, **(INACTIVE if inactive else ACTIVE))}, facts.get("annotations"))  # type: ignore[arg-type]
    on.deployment(1)
    on.sks(mode=str(facts.get("mode", "Serve")), activators=4, proxied_s=facts.get("proxied_s"))  # type: ignore[arg-type]
    on.pods(ready=1)
    on.kpa.wish = Wanted(pods=0, excess_burst_capacity=-1)
    on.activator = bool(facts.get("activator", True))
    on.reconcile()


def test_idle_but_active_for_less_than_the_window_keeps_one_pod(on: Stage) -> None:
    idle(on, active_s=40)
    assert (on.replicas, on.rechecks, on.status["desiredScale"]) == (1, [20.0], 1)


def test_idle_long_enough_turns_to_the_activator_before_the_pod_goes(on: Stage) -> None:
    idle(on, active_s=60)
    assert on.replicas == 1
    assert on.now(SERVERLESS_SERVICES)["spec"]["mode"] == "Proxy"
    assert on.condition("Active") == on.condition("Ready") == ("False", "NoTraffic")
    assert on.status["desiredScale"] == 0


def test_the_pod_stays_while_the_activator_does_not_answer(on: Stage) -> None:
    idle(on, active_s=100, inactive=True, mode="Proxy", activator=False, proxied_s=100)
    assert (on.replicas, on.rechecks) == (1, [1.0])


def test_the_pod_goes_once_the_activator_is_in_the_path_for_the_grace_period(on: Stage) -> None:
    idle(on, active_s=20, inactive=True, mode="Proxy", proxied_s=10)
    assert (on.replicas, on.rechecks) == (1, [20.0])
    on.reconcile(NOW + 20)
    assert on.replicas == 0


def test_with_an_unlimited_burst_nobody_needs_to_ask_the_activator(on: Stage) -> None:
    idle(on, active_s=100, inactive=True, mode="Proxy", activator=False, annotations=UNLIMITED)
    assert on.replicas == 0
    assert on.now(METRICS)["spec"]["scrapeTarget"] == ""


def test_a_woken_revision_is_queued_until_its_pod_is_ready(on: Stage) -> None:
    on.pa({"conditions": conditions(**INACTIVE), "desiredScale": 0, "actualScale": 0})
    on.deployment(0)
    on.sks(ready=False)
    on.kpa.wish = Wanted(pods=2, excess_burst_capacity=-1)
    on.reconcile()
    assert on.replicas == 2
    assert on.condition("Active") == ("Unknown", "Queued")


def test_an_activation_that_takes_too_long_times_out(on: Stage) -> None:
    on.pa({"conditions": conditions(700, **ACTIVE | {"Active": "Unknown Queued", "Ready": "Unknown Queued"})})
    on.deployment(1)
    on.sks(ready=False)
    on.kpa.wish = Wanted(pods=0, excess_burst_capacity=-1)
    on.reconcile()
    assert on.replicas == 0
    assert on.condition("Active") == ("False", "TimedOut")


def test_class_has_waits_for_room_as_long_as_it_takes(on: Stage) -> None:
    on.has.activation_times_out = on.has.scrapes = False
    queued = ACTIVE | {"Active": "Unknown Queued", "Ready": "Unknown Queued"}
    on.pa({"conditions": conditions(100_000, **queued)}, HAS | UNLIMITED)
    on.deployment(1)
    on.sks(ready=False)
    on.pods(pending=1)
    on.has.wish = Wanted(pods=0, excess_burst_capacity=-1)
    on.reconcile()
    assert on.replicas == 1
    assert on.condition("Active") == ("Unknown", "Queued")
    assert all("metrics" not in each for each in on.written())
    assert on.kpa.forgotten == [KEY]


@pytest.mark.parametrize(
    ("wish", "replicas"),
    [
        pytest.param(0, 0, id="once its class wants no pod"),
        pytest.param(-1, 1, id="but not while nothing is known, as after a change of leader"),
        pytest.param(1, 1, id="and not while a pod of it waits for room"),
    ],
)
def test_class_has_gives_up_a_start_that_nothing_routes_to(on: Stage, wish: int, replicas: int) -> None:
    on.has.activation_times_out = on.has.scrapes = False
    queued = ACTIVE | {"Active": "Unknown Queued", "Ready": "Unknown Queued"}
    on.pa({"conditions": conditions(100_000, **queued)}, HAS | UNLIMITED, reachability="Unreachable")
    on.deployment(1)
    on.sks(ready=False)
    on.pods(pending=1)
    on.has.wish = Wanted(pods=wish, excess_burst_capacity=-1)
    on.reconcile()
    assert on.replicas == replicas


@pytest.mark.parametrize(
    ("annotations", "wish", "replicas"),
    [
        pytest.param({"min-scale": "3"}, 1, 3, id="min-scale"),
        pytest.param({"minScale": "3"}, 1, 3, id="its older spelling"),
        pytest.param({"max-scale": "4"}, 9, 4, id="max-scale"),
        pytest.param({"max-scale": "four"}, 9, 9, id="a value that does not parse is no value"),
    ],
)
def test_bounds_of_the_annotations(on: Stage, annotations: dict[str, str], wish: int, replicas: int) -> None:
    on.pa({"conditions": conditions(**ACTIVE)}, {f"autoscaling.knative.dev/{k}": v for k, v in annotations.items()})
    on.deployment(1)
    on.sks()
    on.kpa.wish = Wanted(pods=wish, excess_burst_capacity=-1)
    on.reconcile()
    assert on.replicas == replicas


def test_an_unreachable_revision_has_no_lower_bound(on: Stage) -> None:
    on.pa({"conditions": conditions(**ACTIVE)}, {"autoscaling.knative.dev/min-scale": "3"}, reachability="Unreachable")
    on.deployment(3)
    on.sks()
    on.pods(ready=1)
    on.reconcile()
    assert on.replicas == 1


def test_a_foreign_object_of_the_same_name_is_told_and_left_alone(on: Stage) -> None:
    on.pa({"conditions": conditions(**ACTIVE)})
    on.deployment(1)
    on.sks(uid="somebody-else")
    on.pods(ready=1)
    with pytest.raises(NotOwnedError):
        on.reconcile()
    assert on.condition("Active") == ("False", "NotOwned")
    assert len(on.failures) == 1


def test_a_failed_scale_still_stores_what_is_known(on: Stage) -> None:
    on.pa({"conditions": conditions(**ACTIVE), "metricsServiceName": ""})
    on.deployment(1)
    on.sks()
    on.kpa.wish = Wanted(pods=2, excess_burst_capacity=-1)
    on.api.fail_next("PATCH", "/scale", 503)
    with pytest.raises(Unreachable):
        on.reconcile()
    assert on.status["metricsServiceName"] == f"{NAME}-private"
    assert on.written()[-1] == STATUS


def test_a_missing_deployment_is_an_error_that_names_it(on: Stage) -> None:
    on.pa({"conditions": conditions(**ACTIVE)})
    on.sks()
    with pytest.raises(ReconcileError, match=f"ns/{NAME}-deployment"):
        on.reconcile()


def test_without_leadership_everything_is_forgotten_and_nothing_written(on: Stage) -> None:
    on.leading = False
    steady(on, pods=9)
    assert on.written() == []
    assert on.kpa.forgotten == on.has.forgotten == [KEY]


def test_in_doubt_of_leadership_nothing_is_forgotten_and_nothing_written(on: Stage) -> None:
    on.leading = None
    steady(on, pods=9)
    assert on.written() == []
    # Of the other class it is none, whoever leads.
    assert (on.kpa.forgotten, on.has.forgotten) == ([], [KEY])


def test_a_deleted_podautoscaler_is_forgotten(on: Stage) -> None:
    on.reconcile()
    assert on.written() == []
    assert on.kpa.forgotten == [KEY]


def test_transition_times_stay_while_nothing_is_said_anew(on: Stage) -> None:
    steady(on, pods=2)
    assert {each["lastTransitionTime"] for each in on.status["conditions"]} == {stamp(100)}


def test_the_algorithm_gets_the_annotations_over_the_settings(on: Stage) -> None:
    on.settings.put("config-autoscaler", {"max-scale-up-rate": "7", "stable-window": "30s"})
    keys = {"target": "50", "window": "20s", "panic-window-percentage": "25", "metric": "concurrency"}
    on.pa(annotations={f"autoscaling.knative.dev/{k}": v for k, v in keys.items()}, containerConcurrency=40)
    on.deployment(1)
    on.sks()
    on.reconcile()
    spec = on.kpa.spec
    assert spec is not None
    assert (spec.max_scale_up_rate, spec.stable_window_s, spec.panic_window_s) == (7, 20, 5)
    assert (spec.total_value, spec.target_value) == (40, 28)


@pytest.mark.parametrize(
    ("lost_after", "written"),
    [
        pytest.param("POST metrics", ["POST metrics"], id="the lead lost after the first write stops all others"),
        pytest.param(
            f"PATCH deployments/{NAME}", ["POST metrics", SCALE], id="the lead lost while scaling leaves SKS and status"
        ),
    ],
)
def test_nothing_more_is_written_once_the_lead_is_in_doubt(on: Stage, lost_after: str, written: list[str]) -> None:
    on.lost_after = lost_after
    steady(on, pods=5, ebc=0)
    assert on.written() == written
    assert on.failures == []


def test_an_sks_that_somebody_changed_meanwhile_is_not_overwritten(on: Stage) -> None:
    steady(on)
    populated = {"status": {"conditions": conditions(ActivatorEndpointsPopulated="True")}}
    on.meanwhile = lambda: on.api.merge(named(SERVERLESS_SERVICES, NS, NAME), populated)
    on.kpa.wish = Wanted(pods=1, excess_burst_capacity=0)
    with pytest.raises(Conflict):
        on.reconcile()
    assert on.now(SERVERLESS_SERVICES)["spec"]["mode"] == "Proxy"
