"""The driver API as programs see it: names, kernels' time, memory, graphs."""

from __future__ import annotations

import json

import pytest

from tests.emulated_gpu.node import Node

FOUND, NO_SUCH_NAME, TOO_OLD = 0, 1, 2

RESOLUTIONS = [
    # name, version, flags, exported symbol, status
    ("cuLaunchKernel", 12000, 0, "cuLaunchKernel", FOUND),
    ("cuLaunchKernel", 12000, 2, "cuLaunchKernel_ptsz", FOUND),
    ("cuLaunchKernel", 6000, 2, "cuLaunchKernel", FOUND),
    ("cuGetProcAddress", 11030, 0, "cuGetProcAddress", FOUND),
    ("cuGetProcAddress", 12000, 2, "cuGetProcAddress_v2", FOUND),
    ("cuCtxSynchronize", 12000, 0, "cuCtxSynchronize", FOUND),
    ("cuCtxSynchronize", 13000, 0, "cuCtxSynchronize_v2", FOUND),
    ("cuGraphInstantiate", 11000, 0, "cuGraphInstantiate_v2", FOUND),
    ("cuGraphInstantiate", 12000, 0, "cuGraphInstantiateWithFlags", FOUND),
    ("cuMemAlloc", 12000, 0, "cuMemAlloc_v2", FOUND),
    ("cuMemAlloc", 2000, 0, None, TOO_OLD),
    ("cuLaunchKernelEx", 11000, 2, None, TOO_OLD),
    ("cuNoSuchThing", 12000, 0, None, NO_SUCH_NAME),
]


def test_a_name_resolves_by_version_and_flags(node: Node) -> None:
    asked = "\n".join(json.dumps([name, version, flags, symbol]) for name, version, flags, symbol, _ in RESOLUTIONS)
    answers = node.run("resolve", stdin=asked)
    for (name, version, flags, symbol, status), answer in zip(RESOLUTIONS, answers, strict=True):
        expected = {"symbol": symbol, "code": 0 if symbol else 500, "status": status}
        assert answer == expected, (name, version, flags)


def test_events_tell_a_kernels_time_by_batch_and_plateau(node: Node) -> None:
    (facts,) = node.run("durations")
    assert facts["sms"] == 80
    assert facts["wide"] == pytest.approx(1.0, abs=0.001)
    assert facts["narrow"] == pytest.approx(1.0, abs=0.001)
    assert facts["wide of batch 4"] == pytest.approx(4.0, abs=0.001)
    assert facts["narrow of batch 5"] == pytest.approx(1.0, abs=0.001)  # a batch fills idle SMs first


def test_launches_queue_ahead_up_to_a_bound(node: Node) -> None:
    (ahead,) = node.run("run", 200)
    assert ahead["launched_ms"] < 100 < 195 < ahead["total_ms"]
    (bounded,) = node.run("run", 1200)
    assert bounded["launched_ms"] > 150  # the launch after the 1024th waits for the first to end


def test_memory_is_counted_refused_and_given_back(node: Node) -> None:
    counted, carried = node.run("memory")
    assert counted["total_mib"] == 16384
    assert (counted["taken"], counted["too_much"]) == (0, 2)
    assert counted["before"] - counted["during"] == 1024
    assert counted["after"] == counted["before"]
    assert carried["back"] == "carried"


def test_physical_memory_is_counted_apart_from_addresses(node: Node) -> None:
    (facts,) = node.run("growing")
    assert not any(facts["codes"])
    assert (facts["back"], facts["during"], facts["refused"]) == ("mapped", 16384 - 128 - 4, 1)


def test_a_pool_keeps_memory_until_a_wait_and_beyond_it_up_to_its_threshold(node: Node) -> None:
    (facts,) = node.run("pools")
    assert facts["taken"] == [128, 128, 0, 128, 128, 128]  # in chunks of 32 MiB
    assert (facts["reserved"], facts["used"], facts["trimmed"]) == (128, 0, 0)


def test_a_graphs_own_allocations_take_memory_when_it_runs(node: Node) -> None:
    (facts,) = node.run("graph_memory")
    assert (facts["taken"], facts["reserved"], facts["trimmed"]) == ([0, 64, 64], 64, 0)


def test_streams_of_a_green_context_have_its_sms(node: Node) -> None:
    (facts,) = node.run("green")
    assert (facts["whole"], facts["part"], facts["codes"], facts["destroyed"]) == (80, 20, [0, 400], 0)
    assert 200 <= facts["took_ms"] < 300  # 50 ms of all SMs, on a quarter


def test_a_captured_graph_takes_its_kernels_time_at_launch_only(node: Node) -> None:
    (facts,) = node.run("graph")
    assert facts["launches"] == [0, 900]  # a sync of a capturing stream is forbidden
    assert facts["invalid"] == 901
    assert facts["unsafe"] == 900  # so is an allocation while a global-mode capture goes on
    assert facts["launched_ms"] == pytest.approx(6.0, abs=0.001)


def test_a_launch_fails_when_told_to(node: Node) -> None:
    node.tool("fail-next", "0", "719")
    assert node.run("run")[0]["code"] == 719
    assert node.run("run")[0]["code"] == 0


def test_a_program_without_a_device_is_told_so(node: Node) -> None:
    assert node.run("run", CUDA_VISIBLE_DEVICES="7") == [{"failed": "cuInit", "code": 100}]
