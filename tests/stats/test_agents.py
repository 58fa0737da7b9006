"""Node agents are polled over mutual TLS; silence is known as silence."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from hasgpu.model.report import NodeReport
from hasgpu.stats.agents import AGENT_TLS_NAME, Agents, agent_tls


class Agent:
    """An agent's endpoint on loopback."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.revision = 7
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.paths.append(head.split(b" ")[1].decode())
                pod = {
                    "pod_uid": "u1", "namespace": "ns", "name": "p", "gpu_uuid": "GPU-1", "generation": 2,
                    "quota_percent": 40, "processes": 1, "busy_ns": 5, "gated_ns": 6, "debt_ns": 0, "launches": 3,
                    "waiting": 1, "memory_bytes": 1 << 30, "sm_count": 16, "alive": True,
                }  # fmt: skip
                body = json.dumps({"node": "n1", "revision": self.revision, "pods": [pod]}).encode()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                self.revision += 1
                await asyncio.sleep(0.02)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(authority: trustme.CA, tmp_path: Path) -> Path:
    client = authority.issue_cert("hasgpu-autoscaler")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    client.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    return tmp_path


@asynccontextmanager
async def agent(authority: trustme.CA, name: str = AGENT_TLS_NAME) -> AsyncIterator[Agent]:
    made = Agent()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert(name).configure_cert(context)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def test_reports_keep_coming_and_each_poll_names_the_last_revision(authority: trustme.CA, folder: Path) -> None:
    async def play() -> None:
        reports: list[NodeReport] = []
        enough = asyncio.Event()

        def take(report: NodeReport, now: float) -> None:
            reports.append(report)
            if len(reports) == 3:
                enough.set()

        async with agent(authority) as made, asyncio.timeout(5):
            agents = Agents(take, lambda: agent_tls(folder), lambda: 42.0)
            agents.follow({f"127.0.0.1:{made.port}"})
            await enough.wait()
            assert dict(agents.heard_at) == {f"127.0.0.1:{made.port}": 42.0}
            await agents.stop()
            assert not agents.heard_at
        assert made.paths[:3] == [f"/v1/slices?after={n}&timeout=1s" for n in (0, 7, 8)]
        assert (reports[0].node, reports[0].pods[0].quota_percent, reports[0].pods[0].alive) == ("n1", 40, True)

    asyncio.run(play())


def test_an_agent_of_another_name_is_not_heard(
    authority: trustme.CA, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with agent(authority, name="somebody-else") as made, asyncio.timeout(5):
            agents = Agents(lambda report, now: None, lambda: agent_tls(folder), lambda: 42.0)
            agents.follow({f"127.0.0.1:{made.port}"})
            while "certificate verify failed" not in caplog.text:
                await asyncio.sleep(0.01)
            assert not agents.heard_at
            assert not made.paths
            await agents.stop()

    asyncio.run(play())
