"""Who acts, where our own requests and our watch of the Leases say different things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hasgpu.autoscaler.buckets import identity
from hasgpu.autoscaler.leadership import Leadership
from hasgpu.cluster.objects import Lease
from hasgpu.cluster.paths import LEASES, collection
from hasgpu.cluster.reflector import Reflector
from hasgpu.model.annotations import ALLOCATOR_LEASE
from hasgpu.settings.knative import LeaderElectionSettings

from tests.autoscaler.replica import SYSTEM, until
from tests.cluster.fake_api import FakeApi

OURS, OTHERS = ("a", "10.0.0.1"), ("b", "10.0.0.2")


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as made:
        yield made


def in_doubt(api: FakeApi, holder: str) -> tuple[Leadership, Reflector[Lease]]:
    """No answer for longer than a Lease lasts, while the watch shows a holder."""
    leases = Reflector(api.session(), collection(LEASES, SYSTEM), Lease).start()
    api.create(collection(LEASES, SYSTEM), {"metadata": {"name": ALLOCATOR_LEASE}, "spec": {"holderIdentity": holder}})
    made = Leadership(
        api.session(),
        namespace=SYSTEM,
        pod_name=OURS[0],
        pod_ip=OURS[1],
        domain="cluster.local",
        election=LeaderElectionSettings(),
        leases=leases,
        on_change=lambda *_: None,
    )
    elector = made._electors[ALLOCATOR_LEASE]
    elector._leading, elector._renewed_at = True, elector._monotonic() - 20.0
    until(lambda: bool(leases.snapshot()))
    return made, leases


@pytest.mark.parametrize(
    ("holder", "standing"),
    [
        pytest.param(identity(*OURS), None, id="ours when last heard of: nothing is forgotten"),
        pytest.param("", None, id="nobody's: nobody else decides"),
        pytest.param(identity(*OTHERS), False, id="another's: its is what comes"),
    ],
)
def test_a_lease_in_doubt_is_by_the_watch(api: FakeApi, holder: str, *, standing: bool | None) -> None:
    leadership, leases = in_doubt(api, holder)
    assert leadership.standing(ALLOCATOR_LEASE) is standing
    leases.stop()
