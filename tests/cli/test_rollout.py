"""Waiting asks the API server as it is, also in the moment when it has said nothing yet."""

import pytest
from hasgpu.cli.command import Trouble
from hasgpu.cli.rollout import Rollout

from tests.cluster.fake_api import FakeApi

KINDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.mark.parametrize("status", [{"conditions": None}, None, {}], ids=["null conditions", "null status", "none"])
def test_a_kind_that_was_made_a_moment_ago_is_waited_for(status: dict[str, None] | None) -> None:
    with FakeApi() as api:
        api.create(KINDS, {"metadata": {"name": "gpus.hasgpu.dev"}, "status": status})
        with pytest.raises(Trouble, match="not established"):
            Rollout(api.session(), 0.1).kind(f"{KINDS}/gpus.hasgpu.dev")
