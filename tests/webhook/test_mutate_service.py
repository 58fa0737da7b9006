"""A Service that opts in is checked, completed and stamped; every other is left as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hasgpu_webhook.mutate_service import mutate_service
from hasgpu_webhook.surroundings import Surroundings
from hasgpu_webhook.verdict import Verdict

from tests.webhook.admission_examples import (
    INJECTION,
    NOTHING_KNOWN,
    RESTRICTED,
    SLO,
    Json,
    a_service,
    applied,
    service,
)

CLASS = "autoscaling.knative.dev/class"
HAS = "has.autoscaling.hasgpu.dev"
KPA = "kpa.autoscaling.knative.dev"
FIXED = {"hasgpu.dev/scaling": "fixed", "hasgpu.dev/sm-partition": "20%", "hasgpu.dev/time-quota": "30%"}


def verdict(new: Json, old: Json | None = None, known: Surroundings = NOTHING_KNOWN) -> Verdict:
    return mutate_service(service(new), service(old) if old else None, "default", known, INJECTION)


def stamped(json: Json) -> dict[str, str]:
    found: dict[str, str] = json["spec"]["template"]["metadata"]["annotations"]
    return found


def test_a_service_shows_its_defaults_and_our_class() -> None:
    json = a_service()
    assert stamped(applied(json, verdict(json))) == {
        "hasgpu.dev/slo-latency": "200ms",
        "hasgpu.dev/slo-percentile": "95",
        "hasgpu.dev/profile": "classify",
        "hasgpu.dev/sm-partition": "auto",
        "hasgpu.dev/time-quota": "5%-100%",
        "hasgpu.dev/batch-size": "1",
        "hasgpu.dev/gpu-processes": "1",
        "hasgpu.dev/scaling": "hybrid",
        CLASS: HAS,
        "autoscaling.knative.dev/metric": "concurrency",
        "autoscaling.knative.dev/target-burst-capacity": "-1",
        "serving.knative.dev/progress-deadline": "1h",
    }


@pytest.mark.parametrize("keys", [SLO, FIXED, SLO | {CLASS: KPA}], ids=["hybrid", "fixed", "of class kpa"])
def test_a_second_application_changes_nothing(keys: dict[str, str]) -> None:
    json = a_service(keys)
    once = applied(json, verdict(json))
    assert verdict(once).operations == ()
    assert verdict(once, old=json).operations == ()


def test_what_the_user_wrote_stays() -> None:
    wanted = SLO | {
        "hasgpu.dev/time-quota": "auto",
        "hasgpu.dev/profile": "resnet50",
        "serving.knative.dev/progress-deadline": "10m",
        "autoscaling.knative.dev/max-scale": "3",
    }
    json = a_service(wanted)
    assert stamped(applied(json, verdict(json))).items() >= wanted.items()


def test_a_service_without_our_keys_is_left_alone() -> None:
    assert verdict(a_service({"autoscaling.knative.dev/min-scale": "1"})) == Verdict()
    bare: Json = {"metadata": {"name": "plain"}, "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    assert verdict(bare) == Verdict()


def test_knatives_own_class_is_replaced_and_the_user_is_told() -> None:
    json = a_service(SLO | {CLASS: KPA})
    result = verdict(json)
    assert stamped(applied(json, result))[CLASS] == HAS
    assert result.warnings == (f"hasgpu: {CLASS}='{KPA}' is replaced by '{HAS}'",)


def test_fixed_scaling_keeps_knatives_own_class_and_needs_no_slo() -> None:
    json = a_service(FIXED)
    result = stamped(applied(json, verdict(json)))
    assert CLASS not in result
    assert "autoscaling.knative.dev/target-burst-capacity" not in result
    assert result["serving.knative.dev/progress-deadline"] == "1h"


def test_a_service_that_becomes_fixed_goes_back_to_knatives_class() -> None:
    json = a_service(SLO)
    hybrid = applied(json, verdict(json))
    fixed = copy.deepcopy(hybrid)
    stamped(fixed).update(FIXED)
    assert stamped(applied(fixed, verdict(fixed, old=hybrid)))[CLASS] == KPA


def test_a_service_that_drops_its_last_key_is_knatives_again() -> None:
    json = a_service(SLO)
    before = applied(json, verdict(json))
    after = copy.deepcopy(before)
    for key in [key for key in stamped(after) if key.startswith("hasgpu.dev/")]:
        del stamped(after)[key]
    result = verdict(after, old=before)
    assert stamped(applied(after, result)) == {"autoscaling.knative.dev/metric": "concurrency"}
    assert "Knative's own autoscaler takes over" in result.warnings[0]


def test_a_named_revision_keeps_what_it_got_when_the_defaults_change() -> None:
    old = a_service(SLO | {CLASS: HAS, "hasgpu.dev/time-quota": "20%-90%"})
    old["spec"]["template"]["metadata"]["name"] = "classify-blue"
    new = a_service(SLO)
    new["spec"]["template"]["metadata"]["name"] = "classify-blue"
    assert applied(new, verdict(new, old=old)) == old


def test_a_key_on_the_service_alone_is_told_to_be_without_effect() -> None:
    json = a_service({})
    json["metadata"]["annotations"] = {"hasgpu.dev/slo-latency": "200ms"}
    assert verdict(json).operations == ()
    assert verdict(json).warnings == (
        "hasgpu: hasgpu.dev/slo-latency on the service has no effect; it belongs on the template"
        " (kn: --annotation-revision)",
    )


def test_a_key_on_the_service_and_the_template_is_no_matter() -> None:
    json = a_service()
    json["metadata"]["annotations"] = dict(SLO)
    assert verdict(json).warnings == ()


def test_what_runs_is_not_judged_again_when_only_a_label_changes() -> None:
    old = a_service(SLO | {"hasgpu.dev/gpu-memory": "999Gi"})
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"team": "vision"}
    assert verdict(new, old, Surroundings(gpu_memory_bytes={"V100": 16 << 30})).allowed


def test_a_service_that_is_being_deleted_is_not_judged() -> None:
    json = a_service({"hasgpu.dev/nonsense": "1"})
    json["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert verdict(json) == Verdict()


def mounting(path: str) -> Json:
    return {"volumeMounts": [{"name": "cache", "mountPath": path}]}


REFUSED: list[tuple[str, dict[str, str], Json, list[str]]] = [
    (
        "a time quota above 100 % is refused with key, value and what is allowed",
        SLO | {"hasgpu.dev/time-quota": "130%"},
        {},
        ["hasgpu.dev/time-quota='130%' is not allowed", '"5%" to "100%"'],
    ),
    (
        "an SM partition of nothing is refused",
        SLO | {"hasgpu.dev/sm-partition": "0%"},
        {},
        ["hasgpu.dev/sm-partition='0%' is not allowed", '"1%" to "100%"'],
    ),
    (
        "an unknown key is refused and the known ones are named",
        SLO | {"hasgpu.dev/sm-partitoin": "20%"},
        {},
        ["hasgpu.dev/sm-partitoin is not a key of hasgpu", "hasgpu.dev/sm-partition"],
    ),
    (
        "kn's literal key- is refused with what kn did",
        SLO | {"hasgpu.dev/time-quota-": ""},
        {},
        ["hasgpu.dev/time-quota- is not a key", 'remove it with "--annotation hasgpu.dev/time-quota-"'],
    ),
    (
        "a missing SLO is refused with an example",
        {"hasgpu.dev/profile": "a"},
        {},
        ["hasgpu.dev/slo-latency is required"],
    ),
    (
        "more memory than any GPU has is refused with the largest",
        SLO | {"hasgpu.dev/gpu-memory": "64Gi"},
        {},
        ["hasgpu.dev/gpu-memory='64Gi' is not allowed: the largest GPU of the cluster has 32Gi"],
    ),
    (
        "more memory than the wanted product has is refused",
        SLO | {"hasgpu.dev/gpu-memory": "24Gi", "hasgpu.dev/gpu-product": "V100"},
        {},
        ["the largest 'V100' has 16Gi"],
    ),
    (
        "a whole device beside a slice is refused with advice",
        SLO,
        {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        ["nvidia.com/gpu='1' is not allowed beside hasgpu.dev/ keys", "remove it from container 'user-container'"],
    ),
    (
        "a MIG device as a request is refused too",
        SLO,
        {"resources": {"requests": {"nvidia.com/mig-1g.5gb": "1"}}},
        ["nvidia.com/mig-1g.5gb='1' is not allowed"],
    ),
    (
        "a GPU container that the template lacks is refused",
        SLO | {"hasgpu.dev/gpu-containers": "model"},
        {},
        ["there is no container 'model', only user-container"],
    ),
    ("a volume of one's own at /dev/shm is refused", SLO, mounting("/dev/shm/"), ["mounts /dev/shm", "elsewhere"]),
    ("a mount over our pages is refused", SLO, mounting("/run/hasgpu/page"), ["the place is reserved for hasgpu"]),
    ("the sidecar's port is refused", SLO, {"ports": [{"containerPort": 9402}]}, ["port 9402"]),
    ("the sidecar's name is refused", SLO, {"name": "hasgpu-mps"}, ["'hasgpu-mps' is reserved"]),
    (
        "another autoscaler's class is refused with advice",
        SLO | {CLASS: "hpa.autoscaling.knative.dev"},
        {},
        [f"{CLASS}='hpa.autoscaling.knative.dev' is not allowed", 'hasgpu.dev/scaling: "fixed"'],
    ),
    ("a slice in a template is refused", SLO | {"slice.hasgpu.dev/row": "0"}, {}, ["slice.hasgpu.dev/row is written"]),
    (
        "a slice without a key of ours is refused",
        {"slice.hasgpu.dev/row": "0"},
        {},
        ["slice.hasgpu.dev/row is written"],
    ),
]


@pytest.mark.parametrize(("keys", "container", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_input(keys: dict[str, str], container: dict[str, Any], said: list[str]) -> None:
    known = Surroundings(gpu_memory_bytes={"V100": 16 << 30, "A40": 32 << 30})
    message = "; ".join(verdict(a_service(keys, **container), known=known).problems)
    for part in said:
        assert part in message


def test_all_problems_are_told_at_once() -> None:
    json = a_service({"hasgpu.dev/time-quota": "130%", "hasgpu.dev/sm-partition": "0%"})
    assert len(verdict(json).problems) == 3


def test_memory_is_not_judged_where_no_gpu_is_known() -> None:
    json = a_service(SLO | {"hasgpu.dev/gpu-memory": "999Gi"})
    assert verdict(json).warnings == ()
    assert verdict(json, known=Surroundings(gpu_memory_bytes={})).warnings == (
        "hasgpu: the cluster has no GPU yet; pods wait until a node reports one",
    )


def test_what_keeps_a_service_from_running_now_is_told() -> None:
    known = Surroundings(
        gpu_memory_bytes={"V100": 1 << 30},
        runtime_classes=frozenset({"kata"}),
        autoscaler_trouble="Deployment autoscaler is not hasgpu's",
    )
    result = verdict(a_service(SLO | {"hasgpu.dev/gpu-product": "A100"}), known=known)
    assert result.allowed
    assert result.warnings == (
        "hasgpu: no GPU is a 'A100' now; there are V100",
        "hasgpu: RuntimeClass nvidia does not exist; GPU pods cannot be created without it",
        "hasgpu: GPU services are not scaled now: Deployment autoscaler is not hasgpu's",
    )


RESTRICTING = Surroundings(pod_security="restricted")


def test_pod_security_restricted_refuses_what_its_pods_would_be_refused_for() -> None:
    assert verdict(a_service(), known=RESTRICTING).problems == (
        "namespace default enforces Pod Security \"restricted\": container 'user-container' needs securityContext"
        " runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities.drop: [ALL],"
        " seccompProfile.type: RuntimeDefault (kn: --security-context strict --user UID)",
    )


@pytest.mark.parametrize(
    ("known", "context"),
    [
        (RESTRICTING, RESTRICTED),
        (Surroundings(pod_security="restricted", secure_pod_defaults="Enabled"), {}),
        (
            Surroundings(pod_security="restricted", secure_pod_defaults="AllowRootBounded"),
            {"runAsNonRoot": True},
        ),
        (Surroundings(pod_security="baseline"), {}),
    ],
    ids=[
        "a container that asks for little runs in a restricted namespace",
        "Knative's secure defaults are enough for a restricted namespace",
        "Knative's root-allowing defaults leave one thing to ask",
        "baseline refuses nothing",
    ],
)
def test_pod_security_allows(known: Surroundings, context: Json) -> None:
    assert verdict(a_service(securityContext=context), known=known).allowed


def test_a_pods_context_counts_for_its_containers() -> None:
    json = a_service(securityContext={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}})
    json["spec"]["template"]["spec"]["securityContext"] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert verdict(json, known=RESTRICTING).allowed
