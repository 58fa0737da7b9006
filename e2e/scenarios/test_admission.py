"""What a user may ask for, and what is refused with a reason, at `kn service create`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.commands import CommandFailed, apply, kn, kubectl

from .conftest import fresh_namespace, is_ready, pods, until

IMAGE = "hasgpu.local/inference:1"
SLO = "hasgpu.dev/slo-latency=500ms"


def create(namespace: str, name: str, *annotations: str, extra: tuple[str, ...] = ()) -> str:
    words = [f"--annotation-revision={text}" for text in annotations]
    return kn(
        *("service", "create", name, "--namespace", namespace, "--image", IMAGE, "--port", "8080"),
        *("--env", "MODEL=resnet50", "--wait-timeout", "60"),
        *words,
        *extra,
    )


@pytest.mark.parametrize(
    ("annotations", "extra", "words"),
    [
        ((SLO, "hasgpu.dev/time-quota=130%"), (), ("hasgpu.dev/time-quota", "130%", "5%")),
        ((SLO, "hasgpu.dev/sm-partition=0%"), (), ("hasgpu.dev/sm-partition", "0%", "1%")),
        ((SLO, "hasgpu.dev/sm-partitoin=20%"), (), ("hasgpu.dev/sm-partitoin", "known keys")),
        ((SLO, "hasgpu.dev/gpu-memory=900Gi"), (), ("hasgpu.dev/gpu-memory", "900Gi")),
        ((SLO,), ("--limit", "nvidia.com/gpu=1"), ("nvidia.com/gpu",)),
        ((SLO, "hasgpu.dev/time-quota-="), (), ("hasgpu.dev/time-quota-", "remove")),
        (("hasgpu.dev/time-quota=30%",), (), ("hasgpu.dev/slo-latency", "required")),
        ((SLO, "slice.hasgpu.dev/time-quota=90"), (), ("slice.hasgpu.dev/time-quota",)),
    ],
    ids=[
        "a quota above a whole row",
        "no SMs at all",
        "a key with a typo",
        "more memory than any GPU has",
        "a whole GPU beside a slice",
        "kn's literal key with a dash",
        "no SLO",
        "a forged ledger entry",
    ],
)
def test_bad_input_is_refused_with_key_and_value(
    namespace: str, annotations: tuple[str, ...], extra: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(CommandFailed) as refused:
        create(namespace, "bad", *annotations, extra=extra)
    for word in words:
        assert word in str(refused.value)
    assert "ksvc" not in kubectl("get", "ksvc", "--namespace", namespace, "-o", "name")


def test_a_service_shows_its_defaults_and_starts_without_a_profile(namespace: str) -> None:
    create(namespace, "plain", SLO)
    shown = kubectl(
        "get", "ksvc", "plain", "--namespace", namespace, "-o", "jsonpath={.spec.template.metadata.annotations}"
    )
    for text in (
        '"hasgpu.dev/sm-partition":"auto"',
        '"hasgpu.dev/time-quota":"5%-100%"',
        '"hasgpu.dev/profile":"plain"',
    ):
        assert text in shown
    said = f"LatencyProfile {namespace}/plain does not exist"
    until(lambda: said in kubectl("get", "events", "--namespace", namespace), 15, f"an Event: {said}")


@pytest.fixture(params=["baseline", "restricted"])
def guarded(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A namespace that enforces a Pod Security level."""
    for name in fresh_namespace({"pod-security.kubernetes.io/enforce": request.param}):
        yield name, request.param


def test_a_namespace_that_enforces_pod_security_runs_gpu_services(guarded: tuple[str, str]) -> None:
    namespace, level = guarded
    strict = ("--security-context", "strict", "--user", "1000") if level == "restricted" else ()
    create(namespace, "guarded", SLO, extra=strict)
    until(lambda: any(is_ready(pod) for pod in pods(namespace)), 30, "a ready pod")


def test_an_editor_cannot_make_or_widen_a_slice(namespace: str) -> None:
    create(namespace, "mine", SLO, extra=("--scale-min", "1"))
    pod = until(lambda: [p for p in pods(namespace) if is_ready(p)], 30, "a ready pod")[0]["metadata"]["name"]
    kubectl(
        *("create", "rolebinding", "editor", "--clusterrole=edit", "--user=eve", "--namespace", namespace),
    )
    as_eve = ("--as=eve", "--namespace", namespace)
    with pytest.raises(CommandFailed, match=r"slice\.hasgpu\.dev"):
        kubectl(*as_eve, "annotate", "pod", pod, "slice.hasgpu.dev/time-quota=77", "--overwrite")
    with pytest.raises(CommandFailed, match=r"slice\.hasgpu\.dev"):
        kubectl(*as_eve, "annotate", "pod", pod, "slice.hasgpu.dev/gpu-")


def test_a_pod_may_not_be_created_with_a_slice(namespace: str) -> None:
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "namespace": namespace, "annotations": {"slice.hasgpu.dev/time-quota": "100"}},
        "spec": {"containers": [{"name": "c", "image": "hasgpu.local/pause:1"}]},
    }
    with pytest.raises(CommandFailed, match=r"slice\.hasgpu\.dev"):
        apply(forged)
