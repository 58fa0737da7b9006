"""How long each autoscaler takes to act again after what it needs was away: the API server, or itself.

`python -m e2e.autoscaler_bench.outage`. While something is away no Deployment may be scaled but for its load.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from functools import partial

import click
from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.objects import Deployment
from hasgpu.cluster.paths import DEPLOYMENTS, named

from . import fakes
from .candidate import Candidate, Name
from .cells import SURGE
from .fakes import Fakes
from .plane import Plane, own_address
from .revisions import Revisions, SksController, Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One thing that was away."""

    autoscaler: Name
    away: str
    revisions: int
    recovered_s: float
    """Until a revision that surged while it was away was scaled, since it was back."""
    scaled_without_reason: int


class Scene:
    """An autoscaler at work on a steady load."""

    def __init__(self, name: Name, count: int) -> None:
        self.name, self.plane = name, Plane()
        self.revisions = Revisions(self.plane, count, 20, pushed=True)
        self.sks, self.watched = SksController(self.plane.session), Watched(self.plane.session)
        self.load = Fakes(count, 20, push_to=f"{own_address()}:8080")
        self.candidate = Candidate(name, self.plane)
        self.watched.until(count, 600, lambda: self.candidate.alive)
        time.sleep(10)
        self._surging = 0

    def close(self) -> None:
        """Ends everything."""
        self.candidate.stop()
        self.load.stop()
        self.watched.stop()
        self.sks.stop()
        self.plane.stop()

    def surge(self) -> int:
        """The next revision's load grows tenfold."""
        index, self._surging = self._surging, self._surging + 1
        self.load.change(index, SURGE)
        return index

    def recovery(self, away: str, index: int, back_at: float) -> Recovery:
        """Waits for the surge to be answered; what else was scaled meanwhile had no reason."""
        seen_at = self._until_scaled(index)
        time.sleep(5)
        others = [name for _, name in self.watched.scaled_at if int(name.split("-")[1]) >= self._surging]
        return Recovery(
            autoscaler=self.name,
            away=away,
            revisions=self.revisions.count,
            recovered_s=seen_at - back_at,
            scaled_without_reason=len(others),
        )

    def _until_scaled(self, index: int) -> float:
        """When it is seen to be. Asked for again and again: a watch of our own might come back later than theirs."""
        path = named(DEPLOYMENTS, self.revisions.namespace(index), f"r-{index}-deployment")
        end = time.time() + 300
        while time.time() < end:
            with contextlib.suppress(ClusterError):
                if self.plane.session.get(path, Deployment, timeout_s=1.0).spec.replicas != 1:
                    return time.time()
            time.sleep(0.05)
        return float("inf")

    def api_server_frozen(self, for_s: float) -> Recovery:
        """Connections stay, nothing is answered."""
        pid = self.plane.pids()["kube-apiserver"]
        os.kill(pid, signal.SIGSTOP)
        index = self._surge_late(for_s)
        os.kill(pid, signal.SIGCONT)
        return self.recovery(f"API server frozen for {for_s:.0f} s", index, time.time())

    def api_server_killed(self, for_s: float) -> Recovery:
        """Connections are refused, until a new one answers."""
        self.plane.kill_api_server()
        index = self._surge_late(for_s)
        self.plane.start_api_server()
        return self.recovery(f"API server killed for {for_s:.0f} s", index, time.time())

    def _surge_late(self, for_s: float) -> int:
        time.sleep(for_s - 5)
        index = self.surge()
        time.sleep(5)
        return index

    def killed(self) -> Recovery:
        """SIGKILL; the Lease is not given back, and the next one has the same name, as after a container's restart."""
        os.kill(self.candidate.pid, signal.SIGKILL)
        self.candidate.stop()
        index = self.surge()
        self.candidate = Candidate(self.name, self.plane)
        return self.recovery("autoscaler killed", index, time.time())


@click.command()
@click.option("-n", "count", default=200, show_default=True)
@click.option("--away", "away_s", default=60.0, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="Freezes; what they take depends on when they end.")
@click.option(
    "--autoscaler", "names", multiple=True, type=click.Choice(["ours", "upstream"]), default=("upstream", "ours")
)
def main(count: int, away_s: float, rounds: int, names: tuple[Name, ...]) -> None:
    """Measure recovery with both autoscalers."""
    fakes.build()
    for name in names:
        scene = Scene(name, count)
        steps = [scene.killed, *[partial(scene.api_server_frozen, away_s)] * rounds]
        try:
            for step in (*steps, partial(scene.api_server_killed, away_s)):
                click.echo(json.dumps(asdict(step())))
        finally:
            scene.close()


if __name__ == "__main__":
    main()
