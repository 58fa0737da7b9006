"""Repeats on our code what was recorded of Knative's; a difference is an AssertionError. One function for each kind.

Knows no file and no Go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from hasgpu.autoscaler import revision_spec
from hasgpu.autoscaler.conditions import Conditions, same
from hasgpu.autoscaler.pa_status import ACTIVE, INITIALIZED, SKS_READY, StatusDraft
from hasgpu.autoscaler.pod_index import count
from hasgpu.cluster.knative import PodAutoscaler, PodAutoscalerStatus, ServerlessService
from hasgpu.cluster.metadata import Condition, condition
from hasgpu.cluster.objects import Pod
from hasgpu.decision.delay_window import DelayWindow
from hasgpu.decision.kpa import TICK_S, KpaScaler
from hasgpu.decision.load_windows import LoadWindows
from hasgpu.decision.pod_scale import scale_step
from hasgpu.decision.windows import LinearWindow, WeightedWindow
from hasgpu.settings.autoscaler import AutoscalerSettings, parse_autoscaler
from hasgpu.settings.errors import SettingsError
from hasgpu.settings.knative import DeploymentSettings
from hasgpu.stats.scraper import sample_size

from .go_nouns import decider_spec, message, settings

Case = dict[str, Any]

_TOLERANCE = 1e-9
_RECHECK_TOLERANCE_S = 1.1
"""Upstream's transition times have nanoseconds until they are stored; a recording has what is stored."""


def users_can_set(case: Case) -> bool:
    """The utilization of metrics other than concurrency is a constant that only upstream's tests change."""
    metric = case.get("pa", {}).get("metadata", {}).get("annotations", {}).get("autoscaling.knative.dev/metric")
    return metric != "rps" or case["config"].get("TargetUtilization") == revision_spec.RPS_UTILIZATION


def window(case: Case) -> None:
    """TimedFloat64Buckets and WeightedFloat64Buckets."""
    first, *ops = case["ops"]
    weighted = any(op["op"] == "weighted" for op in ops)
    granularity_s = first["granularity"] // 10**9
    ours = (WeightedWindow if weighted else LinearWindow)(first["window"] / 1e9, granularity_s)
    for op in ops:
        at = op.get("at", 0) / 1e9
        match op["op"]:
            case "record":
                ours.record(at, op["value"])
            case "resize":
                ours.resize(op["window"] / 1e9, at)
            case "empty":
                assert ours.is_empty(at) is op["value"]
            case "average":
                assert close(ours.average(at), op["value"]), (ours.average(at), op)


def maximum(case: Case) -> None:
    """The delay window."""
    ours = DelayWindow(case["ops"][0]["size"], 1)
    for op in case["ops"][1:]:
        ours.record(op["index"], op["value"])
        assert ours.current() == op["current"], op


def scale(case: Case) -> None:
    """Autoscaler.Scale, with the panic state after it."""
    first, *ops = case["ops"]
    delay_s = first["delaySlots"] * TICK_S
    ours = KpaScaler(decider_spec(first["spec"], delay_s), first["ready"], first["panicTime"] / 1e9)
    before = first["panicTime"], first["ready"]
    for op in ops:
        if (op["panicTime"], op["maxPanicPods"]) != before:
            # The upstream test set the panic state by hand; so do we.
            ours._panic_since, ours._max_panic_pods = op["panicTime"] / 1e9 or None, op["maxPanicPods"]
        before = op["panicTimeAfter"], op["maxPanicPodsAfter"]
        if op["failed"] or op["ready"] < 0:
            assert not op["result"]["ScaleValid"], op
            continue
        result = ours.scale(decider_spec(op["spec"], delay_s), op["at"] / 1e9, op["ready"], op["stable"], op["panic"])
        decided = result.desired_pods, result.excess_burst_capacity, ours._panic_since or 0.0
        wanted = op["result"]["DesiredPodCount"], op["result"]["ExcessBurstCapacity"], op["panicTimeAfter"] / 1e9
        assert decided == wanted, (decided, op)


def collection(case: Case) -> None:
    """What the collector makes of stats."""
    first, *ops = case["ops"]
    spec, aggregation = first["metric"]["spec"], first["aggregation"]
    ours = LoadWindows(spec["stableWindow"] / 1e9, spec["panicWindow"] / 1e9, aggregation or "linear")
    for op in ops:
        at = op["at"] / 1e9
        if op["op"] == "record":
            ours.record(at, message(op))
        elif op["op"] == "update":
            spec = op["metric"]["spec"]
            ours.resize(spec["stableWindow"] / 1e9, spec["panicWindow"] / 1e9, at)
        else:
            found = ours.stable_and_panic(op["scalingMetric"], at, scraped=bool(spec["scrapeTarget"]))
            assert (found is None) is op["failed"], op
            stable, panic = found or (0.0, 0.0)
            assert close(stable, op["stable"]), (stable, op)
            assert close(panic, op["panic"]), (panic, op)


def sample(case: Case) -> None:
    """populationMeanSampleSize."""
    if case["population"] == int(case["population"]) >= 0:
        assert sample_size(int(case["population"])) == case["size"]


def config(case: Case) -> None:
    """config-autoscaler."""
    assert _parsed(case.get("data") or {}) == (None if case["failed"] else settings(case["config"]))


def _parsed(data: dict[str, str]) -> AutoscalerSettings | None:
    try:
        return parse_autoscaler(data)
    except SettingsError:
        return None


def decider(case: Case) -> None:
    """MakeDecider."""
    ours = revision_spec.decider_spec(podautoscaler(case), settings(case["config"]))
    wanted = decider_spec(case["spec"], case["spec"]["ScaleDownDelay"] / 1e9)
    for name in set(type(ours).__slots__) - {"panic_window_s", "aggregation"}:
        assert getattr(ours, name) == getattr(wanted, name), (name, ours)


def target(case: Case) -> None:
    """ResolveMetricTarget."""
    ours = revision_spec.decider_spec(podautoscaler(case), settings(case["config"]))
    assert (ours.target_value, ours.total_value) == (case["target"], case["total"]), ours


def metric(case: Case) -> None:
    """MakeMetric."""
    ours = revision_spec.metric_spec(podautoscaler(case), settings(case["config"]), case["service"])
    wanted = case["metric"]["spec"]
    assert (ours.stable_window_ns, ours.panic_window_ns) == (wanted["stableWindow"], wanted["panicWindow"]), ours


def initial(case: Case) -> None:
    """GetInitialScale."""
    assert revision_spec.initial_scale(podautoscaler(case), settings(case["config"])) == case["scale"]


def bounds(case: Case) -> None:
    """PodAutoscaler.ScaleBounds."""
    ours = revision_spec.bounds(podautoscaler(case), settings(case["config"]))
    assert (ours.least, ours.most) == (case["least"], case["most"]), ours


def activators(case: Case) -> None:
    """computeNumActivators."""
    assert revision_spec.activators(decider_spec(case["spec"], 0), case["ready"]) == case["number"]


def pods(case: Case) -> None:
    """PodCountsByState."""
    ours = count(msgspec.convert(case.get("pods") or [], list[Pod]))
    assert (ours.ready, ours.not_ready) == (case["ready"], case["notReady"])
    assert (ours.pending, ours.terminating) == (case["pending"], case["terminating"])


def podscale(case: Case) -> None:
    """scaler.scale: bounds, the way to zero, what is patched and when it is looked at again."""
    pa, given, now = podautoscaler(case), settings(case["config"]), case["at"] / 1e9
    sks = msgspec.convert(case.get("sks") or {"metadata": {}}, ServerlessService)
    deployment = DeploymentSettings(progress_deadline_s=case["progressDeadline"] / 1e9)
    answers: Iterator[bool] = iter(case["answers"])
    unlimited = revision_spec.target_burst_capacity(pa, given) == -1
    draft = StatusDraft(pa, now)
    step = scale_step(
        case["desired"],
        bounds=revision_spec.bounds(pa, given),
        policy=revision_spec.zero_policy(pa, given, deployment, activation_times_out=True),
        activity=draft.activity,
        initialized=draft.initialized,
        proxied=sks.spec.mode == "Proxy",
        proxied_for_s=_proxied_for_s(sks, now),
        activator_in_path=lambda: unlimited or next(answers),
    )
    assert step.want == case["want"], step
    assert next(answers, None) is None, "upstream asked whether the activator is in the path and we did not"
    patched = step.apply and not case.get("noTarget") and step.want != case.get("replicas", 1)
    assert ([step.want] if patched else []) == case["patched"], step
    if False not in case["answers"]:
        # After a failed probe upstream probes on for itself; we look again.
        ours = [] if step.recheck_after_s is None else [step.recheck_after_s]
        assert len(ours) == len(case["rechecks"]), step
        for mine, theirs in zip(ours, case["rechecks"], strict=True):
            assert abs(mine - theirs / 1e9) < _RECHECK_TOLERANCE_S, step


def status(case: Case) -> None:
    """computeStatus."""
    pa, given = podautoscaler(case), settings(case["config"])
    draft = StatusDraft(pa, case["at"] / 1e9)
    draft.observe(case["want"], case["ready"], revision_spec.bounds(pa, given))
    after = msgspec.convert(case["after"], PodAutoscalerStatus)
    assert (draft.desired_scale, draft.actual_scale) == (after.desired_scale, after.actual_scale)
    _assert_same(draft.conditions, after.conditions)


def conditions(case: Case) -> None:
    """One change of a condition set."""
    before = [
        msgspec.structs.replace(
            msgspec.convert(each, Condition),
            last_transition_time=datetime.fromtimestamp(case["changed"][each["type"]] / 1e9, UTC),
        )
        for each in case["before"].get("conditions", ())
    ]
    ours = Conditions((ACTIVE, INITIALIZED, SKS_READY), before)
    texts = case.get("texts") or ()
    marks: dict[str, Callable[[], None]] = {
        "initialize": ours.initialize,
        "initialized": lambda: ours.mark_true(INITIALIZED),
        "sks-ready": lambda: ours.mark_true(SKS_READY),
        "sks-not-ready": lambda: ours.mark_unknown(SKS_READY, "NotReady", *texts),
        "active": lambda: ours.mark_true(ACTIVE),
        "activating": lambda: ours.mark_unknown(ACTIVE, *texts),
        "inactive": lambda: ours.mark_false(ACTIVE, *texts),
    }
    marks[case["mark"]]()
    _assert_same(ours, msgspec.convert(case["after"].get("conditions", ()), tuple[Condition, ...]))


def _assert_same(ours: Conditions, wanted: tuple[Condition, ...]) -> None:
    for each in wanted:
        found = ours.get(each.type)
        assert found is not None, each.type
        assert same(found, each), (found, each)


def podautoscaler(case: Case) -> PodAutoscaler:
    """The PodAutoscaler of a case."""
    return msgspec.convert(case["pa"], PodAutoscaler)


def close(mine: float, theirs: float) -> bool:
    """Averages agree to 1e-9 of the larger of 1 and the value."""
    return abs(mine - theirs) <= _TOLERANCE * max(1.0, abs(theirs))


def _proxied_for_s(sks: ServerlessService, now: float) -> float:
    found = condition(sks.status.conditions, "ActivatorEndpointsPopulated")
    if found is None or found.status != "True" or found.last_transition_time is None:
        return 0.0
    return now - found.last_transition_time.timestamp()


REPLAYS: dict[str, Callable[[Case], None]] = {
    "window": window,
    "maximum": maximum,
    "scale": scale,
    "collection": collection,
    "sample": sample,
    "config": config,
    "decider": decider,
    "target": target,
    "metric": metric,
    "initial": initial,
    "bounds": bounds,
    "activators": activators,
    "pods": pods,
    "podscale": podscale,
    "status": status,
    "condition": conditions,
}
