"""The webhook's manifests say what the code does: the rights are exactly the calls, names and paths are the same."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from hasgpu.cluster.events import EventRecorder
from hasgpu.cluster.session import Session, Stream
from hasgpu.model import annotations as keys
from hasgpu.settings.store import ConfigStore
from hasgpu_webhook.certificates import CONFIGURATION, Certificates
from hasgpu_webhook.environment import read_environment
from hasgpu_webhook.guard import AUTOSCALER_ACCOUNT
from hasgpu_webhook.observer import Observer

from tests.cluster.fake_api import FakeApi
from tests.cluster.object_store import Address

MANIFESTS = Path(__file__).parents[2] / "manifests"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
TEN_YEARS_S = 3400 * 86400.0
Right = tuple[str, str, str, str, str]
"""Namespace, API group, resource, object name, verb; empty where it is not bound."""


def documents(*names: str) -> list[dict[str, Any]]:
    return [each for name in names for each in yaml.safe_load_all((MANIFESTS / name).read_text()) if each]


def one(kind: str, *names: str) -> dict[str, Any]:
    (found,) = [each for each in documents(*names) if each["kind"] == kind]
    return found


def granted() -> set[Right]:
    rights: set[Right] = set()
    for role in documents("300-webhook-rbac.yaml"):
        for rule in role.get("rules", []):
            rights |= {
                (role["metadata"].get("namespace", ""), group, resource, name, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
                for verb in rule["verbs"]
            }
    return rights


class Recorder(Session):
    """A session that notes the right each request needs."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.needed: set[Right] = set()

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, **rest: Any) -> bytes:
        self._note(method, path, query or {})
        return super().request(method, path, query=query, **rest)

    def stream(self, path: str, query: Mapping[str, str], **rest: Any) -> Stream:
        self._note("WATCH", path, query)
        return super().stream(path, query, **rest)

    def _note(self, method: str, path: str, query: Mapping[str, str]) -> None:
        address = Address.parse(urlsplit(path).path)
        fields = dict(parse_qsl(query.get("fieldSelector", "").replace(",", "&")))
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "WATCH": "watch"}
        verb = verbs.get(method, "get" if address.name else "list")
        group = "" if address.kind[0] == "/api/v1" else address.kind[0].split("/")[2]
        # The events of the API server's own choosing of names are not bound to a name.
        name = "" if address.kind[1] == "events" else address.name or fields.get("metadata.name", "")
        self.needed.add((address.namespace, group, address.kind[1], name, verb))


def settle(observer: Observer, now_s: float) -> None:
    """Waits until the watches have brought what ends the trouble."""
    end = time.monotonic() + 5
    while observer.look_after(now_s) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


def needed(folder: Path) -> set[Right]:
    """Everything the process ever asks for: first start, renewal, watches, telling of trouble twice."""
    with FakeApi() as api:
        api.create(
            CONFIGURATIONS, {"metadata": {"name": CONFIGURATION}, "webhooks": [{"name": "a", "clientConfig": {}}]}
        )
        session = Recorder(api.url)
        certificates = Certificates(
            session,
            namespace="hasgpu-system",
            knative_namespace="knative-serving",
            server_file=folder / "server.pem",
        )
        certificates.ensure(time.time())
        certificates.ensure(time.time() + TEN_YEARS_S)
        events = EventRecorder(session, "hasgpu-webhook").start()
        observer = Observer(session, "knative-serving", ConfigStore(), events, "sidecar:1").start()
        api.wait_watchers(6)
        assert observer.wait_settings(5)
        for at in (0.0, 30.0):
            observer.look_after(at)
        account = {"spec": {"template": {"spec": {"serviceAccountName": AUTOSCALER_ACCOUNT}}}}
        deployments, leases = "/apis/apps/v1/namespaces/knative-serving/deployments", "/apis/coordination.k8s.io/v1"
        lease = {"metadata": {"name": keys.ALLOCATOR_LEASE}, "spec": {"holderIdentity": "a_b", "renewTime": "1"}}
        api.create(deployments, {"metadata": {"name": "autoscaler"}, **account})
        api.create(f"{leases}/namespaces/knative-serving/leases", lease)
        settle(observer, 31.0)
        assert observer.look_after(99.0) is not None
        api.merge(f"{leases}/namespaces/knative-serving/leases/{keys.ALLOCATOR_LEASE}", {"spec": {"renewTime": "2"}})
        settle(observer, 100.0)
        assert observer.look_after(199.0) is not None
        assert events.flush(5)
        return session.needed


def test_the_rights_are_exactly_the_calls(tmp_path: Path) -> None:
    used = needed(tmp_path)
    assert used - granted() == set(), "the code asks for what it may not"
    assert granted() - used == set(), "a right is never used"


def test_the_account_is_the_deployments() -> None:
    account = one("ServiceAccount", "300-webhook-rbac.yaml")["metadata"]
    deployment = one("Deployment", "310-webhook.yaml")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]
    for binding in documents("300-webhook-rbac.yaml"):
        for subject in binding.get("subjects", []):
            assert subject == {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}


def test_the_deployment_is_fit_for_pod_security_restricted() -> None:
    pod = one("Deployment", "310-webhook.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}


def test_one_replica_is_always_there() -> None:
    spec = one("Deployment", "310-webhook.yaml")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = one("PodDisruptionBudget", "310-webhook.yaml")["spec"]
    assert (budget["minAvailable"], budget["selector"]) == (1, spec["selector"])
    assert one("Service", "310-webhook.yaml")["spec"]["selector"] == spec["selector"]["matchLabels"]


def test_the_environment_is_read_as_it_is_written() -> None:
    (container,) = one("Deployment", "310-webhook.yaml")["spec"]["template"]["spec"]["containers"]
    environment = read_environment({each["name"]: each.get("value", "hasgpu-system") for each in container["env"]})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert environment.port == ports["https-webhook"]
    assert str(environment.tls_folder) == container["volumeMounts"][0]["mountPath"]


def webhooks() -> Iterator[dict[str, Any]]:
    yield from one("MutatingWebhookConfiguration", "320-webhook-configuration.yaml")["webhooks"]


def test_admission_fails_closed_but_only_for_what_speaks_of_hasgpu() -> None:
    configuration = one("MutatingWebhookConfiguration", "320-webhook-configuration.yaml")
    assert configuration["metadata"]["name"] == CONFIGURATION < "webhook.serving.knative.dev"
    service = one("Service", "310-webhook.yaml")
    for webhook in webhooks():
        called = webhook["clientConfig"]["service"]
        assert (called["name"], called["namespace"], called["port"]) == (
            service["metadata"]["name"],
            service["metadata"]["namespace"],
            service["spec"]["ports"][0]["port"],
        )
        assert called["path"] in ("/services", "/pods")
        assert (webhook["failurePolicy"], webhook["sideEffects"], webhook["timeoutSeconds"]) == ("Fail", "None", 5)
        assert webhook["reinvocationPolicy"] == "IfNeeded"
        assert any("hasgpu.dev/" in condition["expression"] for condition in webhook["matchConditions"])
        assert not any("/" in resource for rule in webhook["rules"] for resource in rule["resources"])


def test_the_policy_lets_the_autoscalers_account_alone_write_slices() -> None:
    policy = one("ValidatingAdmissionPolicy", "120-policy-slices.yaml")["spec"]
    (allocator,) = [each["expression"] for each in policy["variables"] if each["name"] == "isAllocator"]
    assert f"'system:serviceaccount:knative-serving:{AUTOSCALER_ACCOUNT}'" in allocator
    written = {resource for rule in policy["matchConstraints"]["resourceRules"] for resource in rule["resources"]}
    assert written == {"pods", "pods/status", "pods/binding", "bindings"}
    assert policy["failurePolicy"] == "Fail"


def test_custom_resources_keep_what_is_seen_in_a_subresource_and_show_columns() -> None:
    for resource in documents("100-crds.yaml"):
        (version,) = resource["spec"]["versions"]
        assert version["subresources"] == {"status": {}}
        assert version["additionalPrinterColumns"]
        assert resource["metadata"]["name"] == f"{resource['spec']['names']['plural']}.hasgpu.dev"


def test_a_configmap_that_is_deleted_changes_nothing() -> None:
    config_maps = "/api/v1/namespaces/knative-serving/configmaps"
    with FakeApi() as api:
        api.create(config_maps, {"metadata": {"name": "config-hasgpu"}, "data": {"sidecar-image": "mirror/sidecar:7"}})
        settings, session = ConfigStore(), api.session()
        observer = Observer(session, "knative-serving", settings, EventRecorder(session, "w"), "sidecar:1").start()
        assert observer.wait_settings(5)
        api.wait_watchers(6)
        api.delete(f"{config_maps}/config-hasgpu")
        api.create(config_maps, {"metadata": {"name": "config-features"}, "data": {"seen": "after"}})
        end = time.monotonic() + 5
        while not observer._features:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert settings.hasgpu.value.sidecar_image == "mirror/sidecar:7"
