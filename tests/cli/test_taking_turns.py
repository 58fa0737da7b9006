"""Our autoscaler and Knative's in each other's place, where somebody else had a hand in it in between."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hasgpu.cli.command import Progress
from hasgpu.cli.install import Install
from hasgpu.cli.release import Release
from hasgpu.cli.replaced import without_ours
from hasgpu.cli.uninstall import Uninstall

from tests.cli.cluster import APPS, AUTOSCALER_PATH, CONFIG_PATH, KNATIVE_AUTOSCALER, Cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
SECRETS = "/api/v1/namespaces/knative-serving/secrets"
TLS = "hasgpu-autoscaler-tls"
KEPT = "/api/v1/namespaces/hasgpu-system/configmaps/hasgpu-replaced"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    cluster.api.create(SECRETS, {"metadata": {"name": TLS}})
    yield cluster
    cluster.close()


def install(cluster: Cluster) -> None:
    Install(cluster.api.session(), Progress(), Release.load(MANIFESTS), 10.0).run()


def uninstall(cluster: Cluster) -> None:
    Uninstall.prepare(cluster.api.session(), Progress(), MANIFESTS, 10.0, force=False).run()


def upgrade_of_knative(cluster: Cluster) -> None:
    """What `kubectl apply -f serving-core.yaml` makes of ours: values are theirs, and lists lose nothing of ours."""
    merged = copy.deepcopy(cluster.get(AUTOSCALER_PATH))
    merged["metadata"]["labels"]["app.kubernetes.io/name"] = "knative-serving"
    merged["spec"]["replicas"] = 1
    merged["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] = "knative-serving"
    pod = merged["spec"]["template"]["spec"]
    pod["serviceAccountName"] = "controller"
    pod["containers"][0]["image"] = "newer"
    pod["containers"][0]["env"].append({"name": "ONLY_KNATIVES", "value": "2"})
    cluster.api.merge(AUTOSCALER_PATH, {"metadata": merged["metadata"], "spec": merged["spec"]})


def assert_knatives_alone(cluster: Cluster) -> None:
    found = cluster.get(AUTOSCALER_PATH)
    pod = found["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "controller"
    assert pod["containers"][0]["image"] == "newer"
    env = {each["name"] for each in pod["containers"][0]["env"]}
    assert "ONLY_KNATIVES" in env
    assert not {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"} & env
    assert "hasgpu" not in str({**found, "status": None})
    assert "volumes" not in pod
    assert not cluster.get(f"{SECRETS}/{TLS}")


def test_after_an_upgrade_of_knative_over_ours_uninstall_leaves_an_autoscaler_that_can_start(cluster: Cluster) -> None:
    install(cluster)
    upgrade_of_knative(cluster)
    uninstall(cluster)
    assert_knatives_alone(cluster)


def test_after_such_an_upgrade_an_install_keeps_what_is_knatives_alone(cluster: Cluster) -> None:
    install(cluster)
    upgrade_of_knative(cluster)
    install(cluster)
    assert TLS not in cluster.get(KEPT)["data"]["autoscaler.json"]
    uninstall(cluster)
    assert_knatives_alone(cluster)


def test_also_where_nothing_was_kept_the_mixture_loses_its_mount(cluster: Cluster) -> None:
    install(cluster)
    upgrade_of_knative(cluster)
    cluster.api.delete(KEPT)
    uninstall(cluster)
    assert_knatives_alone(cluster)


def test_a_mixture_that_an_earlier_release_kept_is_put_back_without_ours(cluster: Cluster) -> None:
    install(cluster)
    upgrade_of_knative(cluster)
    mixture = cluster.get(AUTOSCALER_PATH)
    install(cluster)
    kept = {"metadata": {"labels": mixture["metadata"]["labels"]}, "spec": mixture["spec"]}
    cluster.api.merge(KEPT, {"data": {"autoscaler.json": json.dumps(kept)}})
    uninstall(cluster)
    assert_knatives_alone(cluster)


def test_knatives_own_settings_of_the_same_names_are_left_where_nothing_is_ours() -> None:
    theirs = copy.deepcopy(KNATIVE_AUTOSCALER)
    pod: Any = theirs["spec"]["template"]["spec"]  # type: ignore[index]
    pod["containers"][0]["env"].append({"name": "OMP_NUM_THREADS", "value": "1"})
    pod["volumes"] = [{"name": "tls", "secret": {"secretName": "theirs"}}]
    assert without_ours(theirs) == theirs


def test_an_autoscaler_that_somebody_deleted_is_made_anew_from_what_was_kept(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.delete(AUTOSCALER_PATH)
    uninstall(cluster)
    found = cluster.get(AUTOSCALER_PATH)
    assert found["spec"] == KNATIVE_AUTOSCALER["spec"]
    assert found["metadata"]["labels"] == {"app.kubernetes.io/name": "knative-serving"}
    assert cluster.get(CONFIG_PATH).get("data", {}) == {}


def test_where_all_of_knative_is_gone_nothing_is_put_back_and_the_rest_goes(cluster: Cluster) -> None:
    install(cluster)
    cluster.api.delete(AUTOSCALER_PATH)
    cluster.api.delete(CONFIG_PATH)
    cluster.api.fail_next("POST", "/namespaces/knative-serving/deployments", 404, "NotFound")
    uninstall(cluster)
    assert not cluster.get(AUTOSCALER_PATH)
    assert not cluster.get(f"{APPS}/namespaces/hasgpu-system/deployments/hasgpu-webhook")
