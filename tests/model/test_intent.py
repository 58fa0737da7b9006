"""Annotations become an intent, or say with key and value why not."""

import pytest
from hasgpu.model.intent import IntentError, opted_in, parse_intent
from hasgpu.model.units import SmPartition, TimeQuota

SLO = {"hasgpu.dev/slo-latency": "200ms"}


def test_only_the_slo_is_required_and_all_else_has_its_documented_default() -> None:
    intent = parse_intent(SLO, "classify")
    assert intent.slo_latency_s == 0.2
    assert intent.slo_percentile == 95.0
    assert intent.profile == "classify"
    assert intent.sm_partition is None
    assert (intent.quota.low, intent.quota.high) == (TimeQuota(5), TimeQuota(100))
    assert intent.memory_bytes is None
    assert (intent.batch_size, intent.gpu_processes, intent.scaling) == (1, 1, "hybrid")


def test_every_key_is_read() -> None:
    intent = parse_intent(
        SLO
        | {
            "hasgpu.dev/slo-percentile": "99.9",
            "hasgpu.dev/profile": "resnet50",
            "hasgpu.dev/sm-partition": "20%",
            "hasgpu.dev/time-quota": "0%-80%",
            "hasgpu.dev/gpu-memory": "4Gi",
            "hasgpu.dev/batch-size": "8",
            "hasgpu.dev/gpu-product": "Tesla V100-SXM2-16GB",
            "hasgpu.dev/gpu-containers": "model, helper",
            "hasgpu.dev/gpu-processes": "2",
        },
        "classify",
    )
    assert intent.slo_percentile == 99.9
    assert intent.sm_partition == SmPartition(20)
    assert (intent.quota.low.parked, intent.quota.high) == (True, TimeQuota(80))
    assert intent.memory_bytes == 4 << 30
    assert intent.gpu_containers == ("model", "helper")


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({"hasgpu.dev/time-quota": "130%"}, ["hasgpu.dev/time-quota", "130%"]),
        ({"hasgpu.dev/time-quota": "3%"}, ["hasgpu.dev/time-quota", "3%"]),
        ({"hasgpu.dev/time-quota": "0%"}, ["hasgpu.dev/time-quota", "0%"]),
        ({"hasgpu.dev/time-quota": "80%-20%"}, ["hasgpu.dev/time-quota", "80%-20%"]),
        ({"hasgpu.dev/time-quota": "30"}, ["hasgpu.dev/time-quota", "30"]),
        ({"hasgpu.dev/sm-partition": "0%"}, ["hasgpu.dev/sm-partition", "0%"]),
        ({"hasgpu.dev/sm-partition": "x"}, ["hasgpu.dev/sm-partition", "x"]),
        ({"hasgpu.dev/slo-latency": "fast"}, ["hasgpu.dev/slo-latency", "fast"]),
        ({"hasgpu.dev/slo-latency": "0s"}, ["hasgpu.dev/slo-latency", "0s"]),
        ({"hasgpu.dev/slo-percentile": "49"}, ["hasgpu.dev/slo-percentile", "49"]),
        ({"hasgpu.dev/slo-percentile": "100"}, ["hasgpu.dev/slo-percentile", "100"]),
        ({"hasgpu.dev/gpu-memory": "4GiB"}, ["hasgpu.dev/gpu-memory", "4GiB"]),
        ({"hasgpu.dev/batch-size": "65"}, ["hasgpu.dev/batch-size", "65"]),
        ({"hasgpu.dev/gpu-processes": "0"}, ["hasgpu.dev/gpu-processes", "0"]),
        ({"hasgpu.dev/scaling": "manual"}, ["hasgpu.dev/scaling", "manual"]),
        ({"hasgpu.dev/profile": "No Such"}, ["hasgpu.dev/profile", "No Such"]),
        ({"hasgpu.dev/qouta": "1"}, ["hasgpu.dev/qouta", "known keys"]),
        ({"hasgpu.dev/time-quota-": ""}, ["hasgpu.dev/time-quota-", "--annotation"]),
        ({"slice.hasgpu.dev/gpu": "GPU-1"}, ["slice.hasgpu.dev/gpu", "allocator"]),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_bad_value_is_refused_with_its_key_and_value(annotations: dict[str, str], names: list[str]) -> None:
    with pytest.raises(IntentError) as caught:
        parse_intent(SLO | annotations, "classify")
    for name in names:
        assert name in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(IntentError) as caught:
        parse_intent({"hasgpu.dev/time-quota": "130%", "hasgpu.dev/sm-partition": "0%"}, "classify")
    assert len(caught.value.problems) == 3, "quota, SM partition and the missing SLO"


def test_fixed_scaling_needs_one_quota_and_an_sm_partition_but_no_slo() -> None:
    fixed = {"hasgpu.dev/scaling": "fixed", "hasgpu.dev/sm-partition": "25%", "hasgpu.dev/time-quota": "40%"}
    assert parse_intent(fixed, "classify").slo_latency_s is None
    with pytest.raises(IntentError, match="sm-partition"):
        parse_intent({"hasgpu.dev/scaling": "fixed", "hasgpu.dev/time-quota": "40%"}, "classify")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [({}, False), ({"autoscaling.knative.dev/class": "x"}, False), (SLO, True), ({"hasgpu.dev/typo": "1"}, True)],
)
def test_any_key_of_ours_opts_in(annotations: dict[str, str], expected: bool) -> None:
    assert opted_in(annotations) is expected
