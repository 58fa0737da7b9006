"""A pod of a GPU revision gets what it needs to hold a slice; every other pod is left as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hasgpu_webhook.mutate_pod import mutate_pod
from hasgpu_webhook.verdict import Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webhook.admission_examples import INJECTION, SLO, TRACEPARENT, Json, a_pod, applied, pod

SHIM = "/opt/hasgpu/lib/libcuda.so.1:/opt/hasgpu/lib/libcuda.so:/opt/hasgpu/lib/libnvidia-ml.so.1"
OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


def verdict(json: Json, traceparent: str | None = TRACEPARENT) -> Verdict:
    return mutate_pod(pod(json), INJECTION, traceparent)


def injected(json: Json) -> Json:
    return applied(json, verdict(json))


def env(json: Json, index: int, kind: str = "containers") -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in json["spec"][kind][index]["env"]}


def annotation(key: str) -> Json:
    return {"fieldRef": {"fieldPath": f"metadata.annotations['slice.hasgpu.dev/{key}']"}}


def test_the_gpu_container_preloads_the_shim_and_reads_its_slice_by_downward_api() -> None:
    assert env(injected(a_pod()), 0) == {
        "PORT": "8080",
        "HASGPU_POD_UID": {"fieldRef": {"fieldPath": "metadata.uid"}},
        "HASGPU_POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "HASGPU_POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "NVIDIA_VISIBLE_DEVICES": annotation("gpu"),
        "CUDA_MPS_PIPE_DIRECTORY": "/run/hasgpu/mps",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": annotation("sm-partition"),
        "HASGPU_GPU_MEMORY_BYTES": annotation("gpu-memory"),
        "LD_PRELOAD": SHIM,
    }


def test_no_other_container_sees_a_gpu() -> None:
    json = a_pod()
    json["spec"]["initContainers"] = [{"name": "fetch", "image": "fetch"}]
    json["spec"]["containers"].append({"name": "logs", "image": "logs"})
    after = injected(json)
    for index, kind in ((1, "containers"), (2, "containers"), (0, "initContainers"), (1, "initContainers")):
        assert env(after, index, kind)["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert "LD_PRELOAD" not in env(after, index, kind)


def test_a_container_that_asks_for_every_gpu_gets_its_own_or_none() -> None:
    everything = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
    json = a_pod(env=everything)
    json["spec"]["containers"].append({"name": "sneaky", "image": "x", "env": everything * 2})
    after = injected(json)
    assert env(after, 0)["NVIDIA_VISIBLE_DEVICES"] == annotation("gpu")
    assert [each["value"] for each in after["spec"]["containers"][2]["env"]] == ["void", "void"]


def test_volumes_come_from_the_node_agent_and_only_gpu_containers_mount_all() -> None:
    after = injected(a_pod())
    assert {volume["name"]: volume["csi"] for volume in after["spec"]["volumes"]} == {
        "hasgpu-page": {"driver": "pages.hasgpu.dev", "volumeAttributes": {"part": "page"}},
        "hasgpu-schedule": {"driver": "pages.hasgpu.dev", "readOnly": True, "volumeAttributes": {"part": "schedule"}},
        "hasgpu-mps": {"driver": "pages.hasgpu.dev", "volumeAttributes": {"part": "mps"}},
        "hasgpu-shm": {"driver": "pages.hasgpu.dev", "volumeAttributes": {"part": "shm"}},
        "hasgpu-lib": {"driver": "pages.hasgpu.dev", "readOnly": True, "volumeAttributes": {"part": "lib"}},
    }
    mounts = {mount["mountPath"]: mount for mount in after["spec"]["containers"][0]["volumeMounts"]}
    assert set(mounts) == {
        "/run/hasgpu/page",
        "/run/hasgpu/schedule",
        "/run/hasgpu/mps",
        "/dev/shm",
        "/opt/hasgpu/lib",
    }
    assert [path for path, mount in mounts.items() if mount.get("readOnly")] == [
        "/run/hasgpu/schedule",
        "/opt/hasgpu/lib",
    ]
    assert "volumeMounts" not in after["spec"]["containers"][1]


def test_the_sidecar_is_native_small_and_fit_for_pod_security_restricted() -> None:
    (sidecar,) = injected(a_pod())["spec"]["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("hasgpu-mps", "Always")
    assert sidecar["image"] == "hasgpu.local/hasgpu-sidecar:1"
    assert sidecar["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert set(sidecar["resources"]) == {"requests", "limits"}
    assert sidecar["readinessProbe"]["periodSeconds"] == 1
    assert sidecar["lifecycle"]["postStart"]["exec"]["command"] == ["/hasgpu-mps-sidecar", "--check"]
    assert [mount["mountPath"] for mount in sidecar["volumeMounts"]] == [
        "/run/hasgpu/page",
        "/run/hasgpu/schedule",
        "/run/hasgpu/mps",
    ]


def test_the_pod_is_gated_and_goes_to_gpu_nodes_only_by_the_allocator() -> None:
    spec = injected(a_pod())["spec"]
    assert spec["schedulingGates"] == [{"name": "hasgpu.dev/slice"}]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert "nodeSelector" not in spec


def test_queue_proxys_readiness_is_asked_every_second() -> None:
    assert injected(a_pod())["spec"]["containers"][1]["readinessProbe"] == {
        "httpGet": {"port": 8012},
        "periodSeconds": 1,
    }


def test_settings_reach_the_pod() -> None:
    settings = type(INJECTION)(
        sidecar_image="mirror/sidecar:2",
        image_pull_policy="Always",
        image_pull_secrets=("mirror",),
        runtime_class=None,
        tolerations=({"key": "team", "operator": "Equal", "value": "vision"},),
        progress_deadline="1h",
    )
    json = a_pod()
    spec = applied(json, mutate_pod(pod(json), settings, None))["spec"]
    assert "runtimeClassName" not in spec
    assert spec["imagePullSecrets"] == [{"name": "mirror"}]
    assert spec["tolerations"][1] == {"key": "team", "operator": "Equal", "value": "vision"}
    assert (spec["initContainers"][0]["image"], spec["initContainers"][0]["imagePullPolicy"]) == (
        "mirror/sidecar:2",
        "Always",
    )


PRELOADS = [
    ("none is set", [], SHIM),
    ("another library is set", [{"name": "LD_PRELOAD", "value": "/a.so:/b.so"}], f"{SHIM}:/a.so:/b.so"),
    ("it is set to nothing", [{"name": "LD_PRELOAD", "value": ""}], SHIM),
    ("the shim is set already", [{"name": "LD_PRELOAD", "value": f"{SHIM}:/a.so"}], f"{SHIM}:/a.so"),
]


@pytest.mark.parametrize(("own", "expected"), [row[1:] for row in PRELOADS], ids=[row[0] for row in PRELOADS])
def test_the_shim_is_preloaded_first_where(own: list[Json], expected: str) -> None:
    assert env(injected(a_pod(env=own)), 0)["LD_PRELOAD"] == expected


def test_a_preload_from_a_config_map_is_kept_by_reference() -> None:
    source = {"configMapKeyRef": {"name": "preload", "key": "libs"}}
    after = injected(a_pod(env=[{"name": "LD_PRELOAD", "valueFrom": source}]))
    names = [each["name"] for each in after["spec"]["containers"][0]["env"]]
    assert names.index("HASGPU_USER_LD_PRELOAD") < names.index("LD_PRELOAD")
    assert env(after, 0)["HASGPU_USER_LD_PRELOAD"] == source
    assert env(after, 0)["LD_PRELOAD"] == f"{SHIM}:$(HASGPU_USER_LD_PRELOAD)"
    assert verdict(after).operations == ()


def test_named_containers_see_the_gpu_instead_of_the_serving_one() -> None:
    json = a_pod(SLO | {"hasgpu.dev/gpu-containers": "model"})
    json["spec"]["containers"].append({"name": "model", "image": "model"})
    after = injected(json)
    assert env(after, 0)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert env(after, 2)["LD_PRELOAD"] == SHIM


def test_without_knatives_hint_the_first_user_container_serves() -> None:
    json = a_pod()
    del json["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"]
    json["spec"]["containers"].reverse()
    assert env(injected(json), 1)["LD_PRELOAD"] == SHIM


def test_forged_slices_are_stripped_and_a_forged_trace_is_overwritten() -> None:
    forged = {"slice.hasgpu.dev/gpu": "GPU-1", "slice.hasgpu.dev/traceparent": OTHER_TRACE}
    after = injected(a_pod(SLO | forged))["metadata"]["annotations"]
    assert {key: after[key] for key in after if key.startswith("slice.")} == {
        "slice.hasgpu.dev/traceparent": TRACEPARENT
    }


def test_a_forged_trace_goes_where_nothing_is_traced() -> None:
    json = a_pod(SLO | {"slice.hasgpu.dev/traceparent": OTHER_TRACE})
    after = applied(json, verdict(json, traceparent=None))
    assert "slice.hasgpu.dev/traceparent" not in after["metadata"]["annotations"]


def as_defaulted(json: Json) -> Json:
    """What the API server adds between the first and the second call."""
    json = copy.deepcopy(json)
    for container in [*json["spec"]["containers"], *json["spec"]["initContainers"]]:
        container["terminationMessagePath"] = "/dev/termination-log"
        if "readinessProbe" in container:
            container["readinessProbe"]["successThreshold"] = 1
            container["readinessProbe"]["httpGet"]["scheme"] = "HTTP"
        for variable in container.get("env", []):
            if "fieldRef" in variable.get("valueFrom", {}):
                variable["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
        container.setdefault("volumeMounts", []).append(
            {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
        )
    json["spec"]["tolerations"].append({"key": "node.kubernetes.io/not-ready", "operator": "Exists"})
    return json


def test_a_second_application_changes_nothing_also_on_a_defaulted_pod_and_in_another_trace() -> None:
    once = injected(a_pod())
    assert verdict(once, traceparent=OTHER_TRACE).operations == ()
    assert verdict(as_defaulted(once), traceparent=OTHER_TRACE).operations == ()


def test_a_container_that_another_webhook_adds_later_gets_no_gpu() -> None:
    once = injected(a_pod())
    once["spec"]["containers"].append({"name": "istio-proxy", "image": "proxy"})
    assert env(injected(once), 2)["NVIDIA_VISIBLE_DEVICES"] == "void"


@given(
    st.lists(
        st.sampled_from(["LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES", "CUDA_MPS_PIPE_DIRECTORY", "HASGPU_POD_UID", "A"]),
        max_size=6,
    ),
    st.sampled_from([None, "", "all", SHIM]),
    st.booleans(),
)
@settings(deadline=None)
def test_whatever_the_environment_was_one_application_is_enough(
    names: list[str], value: str | None, with_starter: bool
) -> None:
    variables = [{"name": name} | ({} if value is None else {"value": value}) for name in names]
    json = a_pod(env=variables)
    if with_starter:
        json["spec"]["initContainers"] = [{"name": "fetch", "image": "f", "env": list(variables)}]
    assert verdict(injected(json)).operations == ()


def test_a_pod_without_our_keys_is_left_alone() -> None:
    assert verdict(a_pod({})) == Verdict()
    assert verdict({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "a"}]}}) == Verdict()


REFUSED = [
    ("its keys make no sense", a_pod(SLO | {"hasgpu.dev/time-quota": "130%"}), "hasgpu.dev/time-quota='130%'"),
    (
        "it lacks the GPU container",
        a_pod(SLO | {"hasgpu.dev/gpu-containers": "model"}),
        "there is no container 'model'",
    ),
    (
        "it mounts a place of ours",
        a_pod(volumeMounts=[{"name": "own", "mountPath": "/dev/shm"}]),
        "mounts /dev/shm",
    ),
]


@pytest.mark.parametrize(("json", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_pod_is_refused_where(json: Json, said: str) -> None:
    assert said in "; ".join(verdict(json).problems)
