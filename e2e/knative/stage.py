"""The cluster as Knative's tests expect it: their namespaces, default settings, and the autoscaler under test.

What it changes it puts back. It may not judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from hasgpu.cli.release import Release
from hasgpu.cli.replaced import AUTOSCALER, KNATIVE, Replaced, is_ours
from hasgpu.cli.rollout import Rollout
from hasgpu.cluster.session import Session

from e2e.commands import kubectl, kubectl_json

from . import programs

Autoscaler = Literal["ours", "upstream"]
_CONFIG = ("-n", KNATIVE, "configmap/config-autoscaler")
_DEPLOYMENT_CONFIG = ("-n", KNATIVE, "configmap/config-deployment")
_DEADLINE = "progress-deadline"
_EXAMPLE = "_example"


@contextmanager
def set_up(session: Session, autoscaler: Autoscaler) -> Iterator[None]:
    """The tests' objects, upstream's defaults, and that autoscaler; afterwards everything as it was."""
    kubectl("apply", "--server-side", *(f"--filename={file}" for file in programs.manifests()))
    before = kubectl_json("get", *_CONFIG).get("data", {})
    with _impatience(), _standing(session, autoscaler):
        configure({}, before)
        try:
            yield
        finally:
            configure(before, {})


@contextmanager
def _impatience() -> Iterator[None]:
    """The progress deadline of upstream's own CI (test/config/ytt/core): some tests wait for a Revision to fail."""
    before = kubectl_json("get", *_DEPLOYMENT_CONFIG).get("data", {}).get(_DEADLINE)
    _patch(_DEPLOYMENT_CONFIG, {_DEADLINE: "120s"})
    try:
        yield
    finally:
        _patch(_DEPLOYMENT_CONFIG, {_DEADLINE: before})


def configure(settings: Mapping[str, str], before: Mapping[str, str]) -> None:
    """config-autoscaler has exactly these settings afterwards; ``before`` are some it may have."""
    present = kubectl_json("get", *_CONFIG).get("data", {})
    gone = {key: None for key in {*before, *present} - {_EXAMPLE} if key not in settings}
    wanted = {key: text for key, text in settings.items() if key != _EXAMPLE}
    _patch(_CONFIG, gone | wanted)


def _patch(config_map: Sequence[str], data: Mapping[str, str | None]) -> None:
    kubectl("patch", *config_map, "--type=merge", "-p", json.dumps({"data": data}))


def scale_autoscaler(session: Session, replicas: int) -> None:
    """Deployment autoscaler with so many replicas, all of them ready."""
    kubectl("-n", KNATIVE, "scale", "deployment/autoscaler", f"--replicas={replicas}")
    Rollout(session, 120.0).deployment(KNATIVE, "autoscaler")


@contextmanager
def _standing(session: Session, autoscaler: Autoscaler) -> Iterator[None]:
    ours_stands = is_ours(session.get(AUTOSCALER, dict))
    if autoscaler == "ours" and not ours_stands:
        raise SystemExit("Deployment autoscaler is not hasgpu's: make install first")
    replaced = Replaced(session)
    swapped = autoscaler == "upstream" and ours_stands
    if swapped and not replaced.put_back():
        raise SystemExit("Knative's own autoscaler was not kept, so it can't stand in")
    try:
        yield
    finally:
        if swapped:
            (ours,) = Release.load(None).of("Deployment", "autoscaler")
            replaced.stand_in(ours)
            replaced.make_schedulable()
        if ours_stands:
            scale_autoscaler(session, 2)
