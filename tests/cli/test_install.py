"""Install and uninstall against a cluster that does what is asked of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hasgpu.cli.__main__ import cli
from hasgpu.cli.command import Progress, Trouble
from hasgpu.cli.install import Install
from hasgpu.cli.release import Release, object_path
from hasgpu.cli.uninstall import Uninstall

from tests.cli.cluster import APPS, AUTOSCALER_PATH, CONFIG_PATH, KNATIVE_AUTOSCALER, Cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
PROFILES = "/apis/hasgpu.dev/v1alpha1/namespaces/default/latencyprofiles"
PODAUTOSCALERS = "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/default/podautoscalers"
GPU_SERVICE = {
    "metadata": {"name": "classify"},
    "spec": {"template": {"metadata": {"annotations": {"hasgpu.dev/slo-latency": "200ms"}}}},
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def install(cluster: Cluster, timeout_s: float = 10.0) -> None:
    Install(cluster.api.session(), Progress(), Release.load(MANIFESTS), timeout_s).run()


def uninstall(cluster: Cluster, *, force: bool = False) -> None:
    Uninstall.prepare(cluster.api.session(), Progress(), MANIFESTS, 10.0, force=force).run()


def test_everything_is_there_and_ours_stands_in_knatives_place(cluster: Cluster) -> None:
    install(cluster)
    for document in Release.load(MANIFESTS).documents:
        assert cluster.get(object_path(document)), object_path(document)
    spec = cluster.get(AUTOSCALER_PATH)["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "hasgpu-autoscaler"
    assert "ONLY_KNATIVES" not in str(spec)
    assert cluster.get(CONFIG_PATH)["data"] == {"pod-is-always-schedulable": "true"}


def test_the_autoscaler_is_replaced_last(cluster: Cluster) -> None:
    install(cluster)
    writes = [path for method, path, _ in cluster.api.requests if method in ("PUT", "PATCH", "POST")]
    assert writes[-1] == AUTOSCALER_PATH


def test_installing_again_changes_nothing_and_keeps_what_was_kept(cluster: Cluster) -> None:
    install(cluster)
    kept = cluster.get("/api/v1/namespaces/hasgpu-system/configmaps/hasgpu-replaced")["data"]
    install(cluster)
    assert cluster.get("/api/v1/namespaces/hasgpu-system/configmaps/hasgpu-replaced")["data"] == kept


def test_a_restart_stamps_every_workload_and_a_later_install_leaves_the_stamps(cluster: Cluster) -> None:
    Install(cluster.api.session(), Progress(), Release.load(MANIFESTS), 10.0, restart=True).run()
    paths = [
        object_path(each) for each in Release.load(MANIFESTS).documents if each["kind"] in ("Deployment", "DaemonSet")
    ]
    stamps = [cluster.get(path)["spec"]["template"]["metadata"]["annotations"] for path in paths]
    assert all("kubectl.kubernetes.io/restartedAt" in each for each in stamps)
    install(cluster)
    assert cluster.get(AUTOSCALER_PATH)["spec"]["template"]["metadata"]["annotations"] == stamps[-1]


def test_uninstall_puts_knatives_autoscaler_and_setting_back_and_leaves_nothing(cluster: Cluster) -> None:
    install(cluster)
    uninstall(cluster)
    found = cluster.get(AUTOSCALER_PATH)
    assert found["spec"] == KNATIVE_AUTOSCALER["spec"]
    assert found["metadata"]["labels"] == {"app.kubernetes.io/name": "knative-serving"}
    assert found["metadata"]["annotations"] == {"kept": "yes"}
    assert cluster.get(CONFIG_PATH).get("data", {}) == {}
    for document in Release.load(MANIFESTS).documents:
        if document["metadata"]["name"] != "autoscaler":
            assert not cluster.get(object_path(document)), object_path(document)
    assert not cluster.get("/apis/coordination.k8s.io/v1/namespaces/knative-serving/leases/hasgpu-allocator")


def test_a_setting_that_an_administrator_had_made_is_put_back_as_it_was(cluster: Cluster) -> None:
    cluster.api.merge(CONFIG_PATH, {"data": {"pod-is-always-schedulable": "false", "other": "1"}})
    install(cluster)
    uninstall(cluster)
    assert cluster.get(CONFIG_PATH)["data"] == {"pod-is-always-schedulable": "false", "other": "1"}


def test_no_new_pod_is_injected_before_knatives_autoscaler_is_back_and_agents_go_later(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.requests.clear()
    uninstall(cluster)
    writes = [(method, path) for method, path, _ in cluster.api.requests if method in ("PUT", "DELETE")]
    hook = next(i for i, (_, path) in enumerate(writes) if "mutatingwebhookconfigurations" in path)
    back = writes.index(("PUT", AUTOSCALER_PATH))
    agent = writes.index(("DELETE", f"{APPS}/namespaces/hasgpu-system/daemonsets/hasgpu-node"))
    webhook = writes.index(("DELETE", f"{APPS}/namespaces/hasgpu-system/deployments/hasgpu-webhook"))
    assert hook < back < agent < webhook


def test_uninstall_refuses_while_gpu_services_exist_and_lists_them(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.create(SERVICES, GPU_SERVICE)
    cluster.api.create(SERVICES, {"metadata": {"name": "plain"}, "spec": {"template": {"metadata": {}}}})
    cluster.api.requests.clear()
    with pytest.raises(Trouble, match="default/classify") as caught:
        uninstall(cluster)
    assert "plain" not in str(caught.value)
    assert not [each for each in cluster.api.requests if each[0] != "GET"]


def pinned_at_zero(cluster: Cluster, owner: dict[str, str]) -> None:
    """A revision with GPU keys, without pods, of a service whose newest template has none."""
    cluster.api.create(SERVICES, {"metadata": {"name": "pinned"}, "spec": {"template": {"metadata": {}}}})
    for name, scaled_by, labels in (
        ("pinned-00001", "has.autoscaling.hasgpu.dev", owner),
        ("pinned-00002", "kpa.autoscaling.knative.dev", {"serving.knative.dev/service": "plain"}),
    ):
        metadata = {"name": name, "labels": labels, "annotations": {"autoscaling.knative.dev/class": scaled_by}}
        cluster.api.create(PODAUTOSCALERS, {"metadata": metadata})


def test_a_service_of_which_an_older_revision_uses_gpus_is_found_though_it_has_no_pod(cluster: Cluster) -> None:
    install(cluster)
    pinned_at_zero(cluster, {"serving.knative.dev/service": "pinned"})
    with pytest.raises(Trouble, match="default/pinned") as caught:
        uninstall(cluster)
    assert "plain" not in str(caught.value)
    uninstall(cluster, force=True)
    assert cluster.api.list(SERVICES) == []


def test_revisions_that_go_after_their_service_keep_nothing_in_place(cluster: Cluster) -> None:
    install(cluster)
    pinned_at_zero(cluster, {"serving.knative.dev/service": "deleted"})
    uninstall(cluster)
    assert cluster.get(AUTOSCALER_PATH)["spec"] == KNATIVE_AUTOSCALER["spec"]


def test_a_revision_of_no_service_keeps_everything_in_place_even_by_force(cluster: Cluster) -> None:
    install(cluster)
    pinned_at_zero(cluster, {"serving.knative.dev/configuration": "bare"})
    with pytest.raises(Trouble, match="default/pinned-00001 uses GPUs and is of no service"):
        uninstall(cluster, force=True)


def test_by_force_the_gpu_services_are_deleted_first_and_others_are_left(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.create(SERVICES, GPU_SERVICE)
    cluster.api.create(SERVICES, {"metadata": {"name": "plain"}, "spec": {"template": {"metadata": {}}}})
    uninstall(cluster, force=True)
    assert [each["metadata"]["name"] for each in cluster.api.list(SERVICES)] == ["plain"]


def test_a_plain_pod_with_a_slice_keeps_the_agents_in_place(cluster: Cluster) -> None:
    install(cluster)
    pod = {"metadata": {"name": "by-hand", "annotations": {"slice.hasgpu.dev/gpu": "GPU-0"}}}
    cluster.api.create("/api/v1/namespaces/default/pods", pod)
    with pytest.raises(Trouble, match="default/by-hand still holds a slice"):
        uninstall(cluster)


def test_pods_that_drain_are_waited_for_though_no_service_is_left(cluster: Cluster) -> None:
    install(cluster)
    draining = {
        "name": "classify-1",
        "labels": {"serving.knative.dev/service": "classify"},
        "annotations": {"slice.hasgpu.dev/gpu": "GPU-0"},
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }
    cluster.api.create("/api/v1/namespaces/default/pods", {"metadata": draining})
    cluster.api.requests.clear()
    with pytest.raises(Trouble, match="default/classify-1 is still there"):
        Uninstall.prepare(cluster.api.session(), Progress(), MANIFESTS, 0.1, force=False).run()
    assert not [each for each in cluster.api.requests if each[0] != "GET"]


def test_profiles_that_people_wrote_survive_an_uninstall_without_force(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.create(PROFILES, {"metadata": {"name": "resnet50"}, "spec": {}})
    uninstall(cluster)
    kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert cluster.get(f"{kinds}/latencyprofiles.hasgpu.dev")
    assert not cluster.get(f"{kinds}/gpus.hasgpu.dev")
    assert cluster.get(f"{PROFILES}/resnet50")


def test_what_a_person_filled_into_a_learned_profile_survives_and_what_was_only_learned_does_not(
    cluster: Cluster,
) -> None:
    install(cluster)
    labels = {"hasgpu.dev/learned": "true"}
    cells = [{"batch": 1, "sm": 100, "quota": 100, "latencyMs": 20.0}]
    measured = {"measurements": [{"gpuProduct": "NVIDIA-L4", "cells": cells}]}
    for name, spec in (("measured", measured), ("sized", {"memory": "2Gi"}), ("learned", {})):
        cluster.api.create(PROFILES, {"metadata": {"name": name, "labels": labels}, "spec": spec})
    uninstall(cluster)
    kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert cluster.get(f"{kinds}/latencyprofiles.hasgpu.dev")
    assert [each["metadata"]["name"] for each in cluster.api.list(PROFILES)] == ["measured", "sized"]


def test_where_all_profiles_were_learned_their_kind_goes_too(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.create(PROFILES, {"metadata": {"name": "learned", "labels": {"hasgpu.dev/learned": "true"}}})
    uninstall(cluster)
    assert not cluster.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/latencyprofiles.hasgpu.dev")


def test_a_gpu_object_whose_agent_is_gone_is_released(cluster: Cluster) -> None:
    install(cluster)
    gpus = "/apis/hasgpu.dev/v1alpha1/gpus"
    cluster.api.create(gpus, {"metadata": {"name": "gpu-0", "finalizers": ["hasgpu.dev/agent"]}})
    uninstall(cluster)
    assert not cluster.get(f"{gpus}/gpu-0")


def test_where_nothing_was_kept_uninstall_says_what_to_do_and_touches_nothing(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.delete("/api/v1/namespaces/hasgpu-system/configmaps/hasgpu-replaced")
    cluster.api.requests.clear()
    with pytest.raises(Trouble, match=r"serving-core\.yaml"):
        uninstall(cluster)
    assert not [each for each in cluster.api.requests if each[0] != "GET"]


def test_after_an_upgrade_put_knatives_newer_autoscaler_back_that_one_is_kept(cluster: Cluster) -> None:
    install(cluster)
    upgraded = {**KNATIVE_AUTOSCALER, "spec": {**KNATIVE_AUTOSCALER["spec"], "replicas": 2}}  # type: ignore[dict-item]
    cluster.api.delete(AUTOSCALER_PATH)
    cluster.api.create(f"{APPS}/namespaces/knative-serving/deployments", upgraded)
    install(cluster)
    uninstall(cluster)
    assert cluster.get(AUTOSCALER_PATH)["spec"]["replicas"] == 2
    assert cluster.get(CONFIG_PATH).get("data", {}) == {}


@pytest.mark.parametrize("mode", ["enabled", "maybe"])
def test_where_a_mesh_hides_pods_nothing_is_written_unless_forced(cluster: Cluster, mode: str) -> None:
    network = {"metadata": {"name": "config-network"}, "data": {"mesh-compatibility-mode": mode}}
    cluster.api.create("/api/v1/namespaces/knative-serving/configmaps", network)
    with pytest.raises(Trouble, match=f"config-network: mesh-compatibility-mode = '{mode}'"):
        install(cluster)
    assert not [each for each in cluster.api.requests if each[0] != "GET"]
    if mode == "enabled":
        Install(cluster.api.session(), Progress(), Release.load(MANIFESTS), 10.0, force=True).run()
        assert cluster.get(AUTOSCALER_PATH)["spec"]["template"]["spec"]["serviceAccountName"] == "hasgpu-autoscaler"


def test_a_webhook_that_never_comes_leaves_knatives_autoscaler_in_place_and_says_why(cluster: Cluster) -> None:
    cluster.stuck.add("hasgpu-webhook")
    labels = {"app.kubernetes.io/name": "hasgpu", "app.kubernetes.io/component": "webhook"}
    waiting = {"name": "webhook", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}}
    cluster.api.create(
        "/api/v1/namespaces/hasgpu-system/pods",
        {"metadata": {"name": "w-1", "labels": labels}, "status": {"containerStatuses": [waiting]}},
    )
    with pytest.raises(Trouble, match="Deployment hasgpu-webhook"):
        install(cluster, timeout_s=0.5)
    assert cluster.get(AUTOSCALER_PATH)["spec"] == KNATIVE_AUTOSCALER["spec"]


def test_without_knative_install_says_so(cluster: Cluster) -> None:
    cluster.api.delete(AUTOSCALER_PATH)
    with pytest.raises(Trouble, match="install Knative Serving first"):
        install(cluster)


def test_manifest_prints_what_install_applies() -> None:
    done = CliRunner().invoke(cli, ["manifest"])
    assert done.exit_code == 0
    assert list(yaml.safe_load_all(done.output)) == list(Release.load(MANIFESTS).documents)


def test_all_images_come_from_the_registry_that_is_named() -> None:
    release = Release.load(MANIFESTS, "registry.example.com/team/")
    containers = [
        container
        for kind in ("Deployment", "DaemonSet")
        for document in release.of(kind)
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    images = {container["image"] for container in containers}
    images |= {each["value"] for one in containers for each in one.get("env", ()) if each["name"] == "SIDECAR_IMAGE"}
    expected = {f"registry.example.com/team/hasgpu-{name}:1" for name in ("node", "autoscaler", "webhook", "sidecar")}
    assert images == expected
    assert "hasgpu.local" not in release.to_yaml()


def test_nothing_is_installed_where_nobody_says_yes(cluster: Cluster) -> None:
    done = CliRunner().invoke(cli, ["install"], input="")
    assert done.exit_code == 1
    assert "Replace the autoscaler" in done.output
    assert not [method for method, _, _ in cluster.api.requests if method != "GET"]


def test_no_cluster_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = CliRunner().invoke(cli, ["uninstall"])
    assert done.exit_code == 1
    assert f"no cluster to talk to by KUBECONFIG={tmp_path / 'none'}: " in done.output


def test_where_no_kubeconfig_is_named_the_default_one_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["uninstall"])
    assert done.exit_code == 1
    assert "no cluster to talk to by ~/.kube/config, since KUBECONFIG is not set: " in done.output


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    code = "import sys; sys.argv=['x','--help']\nfrom hasgpu.cli.__main__ import cli\ncli(standalone_mode=False)\n"
    code += "print([m for m in ('kubernetes', 'yaml', 'urllib3', 'msgspec') if m in sys.modules])\n"
    code += "import time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, imported, cpu_s = done.stdout.splitlines()
    assert imported == "[]"
    assert float(cpu_s) < 2.0
