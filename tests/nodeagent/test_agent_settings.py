"""What the node agent makes of config-hasgpu while it is edited."""

from __future__ import annotations

import threading
import types
from typing import cast

from hasgpu.cluster.objects import ConfigMap
from hasgpu.cluster.paths import CONFIG_MAPS, collection
from hasgpu.cluster.reflector import Reflector
from hasgpu.nodeagent.agent import Agent
from hasgpu.settings.hasgpu import parse_hasgpu
from hasgpu.settings.store import Setting

from tests.autoscaler.replica import until
from tests.cluster.fake_api import FakeApi

NAMESPACE = "knative-serving"


def test_a_configmap_that_is_deleted_lays_no_other_time_tables() -> None:
    """``kubectl replace --force`` and pruning delete it for a moment; pods are sized for the window that is laid."""
    with FakeApi() as api:
        said = {"metadata": {"name": "config-hasgpu"}, "data": {"window": "100ms", "row-policy": "borrow"}}
        api.create(collection(CONFIG_MAPS, NAMESPACE), said)
        agent = cast("Agent", types.SimpleNamespace(_settings=Setting(parse_hasgpu), _wake=threading.Event()))
        seen: list[str] = []

        def on_event(kind: str, old: ConfigMap | None, new: ConfigMap | None) -> None:
            Agent._settings_changed(agent, kind, old, new)  # type: ignore[arg-type]
            seen.append(kind)

        watched = Reflector(api.session(), collection(CONFIG_MAPS, NAMESPACE), ConfigMap, on_event=on_event).start()
        agent._config_maps = watched
        assert watched.wait_synced(5)
        before = Agent._tuning(agent)
        assert before is not None
        assert (before.window_ns, before.policy) == (100_000_000, "borrow")
        api.delete(f"{collection(CONFIG_MAPS, NAMESPACE)}/config-hasgpu")
        until(lambda: len(seen) == 2)
        assert Agent._tuning(agent) == before
        watched.stop()
