"""MPS: who reaches the daemon gets its share and shares its fate; who does not is alone."""

from __future__ import annotations

import subprocess

import pytest

from tests.emulated_gpu.node import Node, said, wait_for

SET_EXCLUSIVE = """
from pynvml import *
nvmlInit()
nvmlDeviceSetComputeMode(nvmlDeviceGetHandleByIndex(0), NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
print("{}")
"""


def next_launch(client: subprocess.Popen[str]) -> int:
    assert client.stdin
    client.stdin.write("\n")
    client.stdin.flush()
    code: int = said(client)["code"]
    return code


def test_the_share_counts_only_for_a_client_that_reached_its_daemon(node: Node) -> None:
    mps = node.daemon("mps")
    (client,) = node.run("durations", **mps.client(20))
    assert client["sms"] == 16
    assert client["wide"] == pytest.approx(5.0, abs=0.001)
    assert client["narrow"] == pytest.approx(1.0, abs=0.001)
    (alone,) = node.run("durations", CUDA_MPS_ACTIVE_THREAD_PERCENTAGE="20")
    assert alone["sms"] == 80


def test_a_client_can_only_tighten_what_the_server_allows(node: Node) -> None:
    mps = node.daemon("mps")
    assert mps.ask("set_default_active_thread_percentage 30") == "30.0"
    assert node.run("durations", **mps.client(90))[0]["sms"] == 24
    assert node.run("durations", **mps.client(10))[0]["sms"] == 8
    server = mps.ask("get_server_list")
    assert mps.ask("get_default_active_thread_percentage") == "30.0"
    assert mps.ask(f"set_active_thread_percentage {server} 50") == "50.0"
    assert mps.ask(f"get_active_thread_percentage {server}") == "50.0"
    assert node.run("durations", **mps.client())[0]["sms"] == 40


def test_the_pinned_memory_limit_holds(node: Node) -> None:
    mps = node.daemon("mps")
    mps.ask("set_default_device_pinned_mem_limit 0 512M")
    refused, _ = node.run("memory", **mps.client())
    assert refused["taken"] == 2


def test_control_commands_answer_as_v2(node: Node) -> None:
    mps = node.daemon("mps")
    assert mps.ask("get_server_list") == ""
    mps.ask("start_server -uid 0")
    server = mps.ask("get_server_list")
    assert mps.ask(f"get_server_status {server}") == "ACTIVE"
    client = node.start("hold", **mps.client())
    said(client)
    assert mps.ask(f"get_client_list {server}") == str(client.pid)
    header, row = mps.ask("ps").splitlines()
    assert header.split() == ["PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND"]
    assert row.split()[:3] == [str(client.pid), "0", server]
    assert mps.ask("get_server_status 1") == "Server 1 not found"
    mps.ask("quit -t 0")
    assert mps.process.wait(2) == 0


def test_in_exclusive_mode_only_the_daemons_clients_run(node: Node) -> None:
    mps = node.daemon("mps")
    node.ask(SET_EXCLUSIVE)
    assert node.run("run") == [{"failed": "cuCtxCreate_v2", "code": 46}]
    assert node.run("run", **mps.client(50))[0]["code"] == 0


def test_when_the_daemon_dies_its_clients_fail(node: Node) -> None:
    mps = node.daemon("mps")
    client = node.start("hold", **mps.client(50))
    said(client)
    mps.process.kill()
    mps.process.wait()
    wait_for(lambda: next_launch(client) == 806)  # the client hears of it a moment later


def test_a_terminated_client_fails_alone(node: Node) -> None:
    mps = node.daemon("mps")
    victim, other = node.start("hold", **mps.client(50)), node.start("hold", **mps.client(50))
    said(victim), said(other)
    mps.ask(f"terminate_client {mps.ask('get_server_list')} {victim.pid}")
    wait_for(lambda: next_launch(victim) == 810)
    assert next_launch(other) == 0


def test_a_fault_hits_all_clients_and_keeps_new_ones_out_until_they_have_left(node: Node) -> None:
    mps = node.daemon("mps")
    client = node.start("hold", **mps.client(50))
    said(client)
    node.tool("fault", "0")
    server = mps.ask("get_server_list")
    assert mps.ask(f"get_server_status {server}") == "FAULT"
    assert node.run("run", **mps.client()) == [{"failed": "cuInit", "code": 807}]
    assert next_launch(client) == 719
    client.kill()
    wait_for(lambda: mps.ask(f"get_server_status {server}") == "ACTIVE")
    assert node.run("run", **mps.client())[0]["code"] == 0


def test_the_server_takes_no_more_clients_than_it_can(node: Node) -> None:
    mps = node.daemon("mps")
    for _ in range(3):
        said(node.start("hold", **mps.client(10)))
    assert node.run("run", **mps.client(10)) == [{"failed": "cuInit", "code": 808}]


def test_a_second_daemon_in_the_same_directory_is_refused(node: Node) -> None:
    node.daemon("mps")
    assert node.daemon("mps").process.wait(2) == 1
