"""The manifests as a whole: complete, in order, labelled, least privileged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hasgpu.cli.release import KINDS, Release, object_path, title
from hasgpu.cli.replaced import OUR_ENV, TLS_SECRET

FOLDER = Path(__file__).parents[2] / "manifests"
DOCUMENTS = Release.load(FOLDER).documents
WORKLOADS = [each for each in DOCUMENTS if each["kind"] in ("Deployment", "DaemonSet")]
OURS = {"hasgpu-webhook", "hasgpu-autoscaler", "hasgpu-node", "hasgpu-mps"}


def rules() -> list[tuple[str, dict[str, Any]]]:
    return [
        (title(each), rule) for each in DOCUMENTS if each["kind"] in ("Role", "ClusterRole") for rule in each["rules"]
    ]


def pod(document: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]["template"]["spec"]
    return spec


def test_the_kustomization_names_every_file_in_its_order() -> None:
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert named == sorted(each.name for each in FOLDER.glob("[0-9]*.yaml"))


def test_install_knows_every_kind_and_each_object_comes_once() -> None:
    assert {each["kind"] for each in DOCUMENTS} == set(KINDS)
    paths = [object_path(each) for each in DOCUMENTS]
    assert len(paths) == len(set(paths))


def test_the_namespace_and_the_kinds_come_first_and_the_autoscaler_last() -> None:
    order = [title(each) for each in DOCUMENTS]
    assert order[0] == "Namespace hasgpu-system"
    assert order[1].startswith("CustomResourceDefinition")
    assert order.index("Deployment autoscaler") > order.index("Deployment hasgpu-webhook")


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_every_object_says_what_it_belongs_to(document: dict[str, Any]) -> None:
    labels = document["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "hasgpu"
    namespace = document["metadata"].get("namespace")
    assert namespace in (None, "hasgpu-system", "knative-serving")


@pytest.mark.parametrize("document", WORKLOADS, ids=title)
def test_every_pod_has_an_account_of_its_own_requests_and_images_that_need_no_registry(
    document: dict[str, Any],
) -> None:
    spec = pod(document)
    assert spec["serviceAccountName"] in OURS
    labels = document["spec"]["template"]["metadata"]["labels"]
    selector = document["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    for container in spec["containers"]:
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        # What is killed for memory in the MPS pod takes every client of its GPU along.
        assert ("memory" in container["resources"].get("limits", {})) == (container["name"] != "mps")


@pytest.mark.parametrize("name", ["hasgpu-webhook", "autoscaler"])
def test_webhook_and_autoscaler_satisfy_pod_security_restricted(name: str) -> None:
    (document,) = Release(DOCUMENTS).of("Deployment", name)
    spec = pod(document)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostPID", "hostNetwork", "hostIPC"} & spec.keys()
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
    assert all({"secret", "emptyDir", "projected", "configMap"} & volume.keys() for volume in spec["volumes"])


@pytest.mark.parametrize(("who", "rule"), rules(), ids=lambda each: each if isinstance(each, str) else "")
def test_no_rule_has_a_wildcard_nor_reads_secrets_at_large(who: str, rule: dict[str, Any]) -> None:
    for part in ("apiGroups", "resources", "verbs"):
        assert "*" not in rule[part]
    if "secrets" in rule["resources"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"]
    assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_only_the_autoscaler_may_patch_pods() -> None:
    assert {who for who, rule in rules() if "pods" in rule["resources"] and "patch" in rule["verbs"]} == {
        "ClusterRole hasgpu-autoscaler"
    }


def test_the_autoscaler_takes_knatives_place_without_a_gap() -> None:
    (document,) = Release(DOCUMENTS).of("Deployment", "autoscaler")
    spec = document["spec"]
    assert spec["selector"] == {"matchLabels": {"app": "autoscaler"}}
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    assert [each["name"] for each in spec["template"]["spec"]["containers"]] == ["autoscaler"]


def test_knatives_autoscaler_applied_over_ours_starts_though_our_secret_is_gone() -> None:
    (document,) = Release(DOCUMENTS).of("Deployment", "autoscaler")
    (secret,) = [each["secret"] for each in pod(document)["volumes"] if "secret" in each]
    assert secret == {"secretName": TLS_SECRET, "optional": True}


def test_the_environment_that_is_taken_out_of_a_mixture_is_what_only_ours_has() -> None:
    (document,) = Release(DOCUMENTS).of("Deployment", "autoscaler")
    (container,) = pod(document)["containers"]
    both = {"POD_NAME", "POD_IP", "SYSTEM_NAMESPACE"}
    assert {each["name"] for each in container["env"]} == {*OUR_ENV, *both}


def test_the_daemons_of_mps_are_never_restarted_by_an_update() -> None:
    (document,) = Release(DOCUMENTS).of("DaemonSet", "hasgpu-mps")
    assert document["spec"]["updateStrategy"] == {"type": "OnDelete"}
