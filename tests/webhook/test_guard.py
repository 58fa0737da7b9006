"""Whether hasgpu's autoscaler is in place is told after patience, and taken back at once."""

from __future__ import annotations

from hasgpu_webhook.guard import AutoscalerGuard, Sighting


def sighting(account: str | None = "hasgpu-autoscaler", beat: int | None = 0) -> Sighting:
    return Sighting(service_account=account, lease=None if beat is None else ("pod_10.0.0.1", str(beat)))


def test_an_autoscaler_in_place_is_no_trouble() -> None:
    guard = AutoscalerGuard()
    assert [guard.trouble(sighting(beat=at), at) for at in range(0, 120, 5)] == [None] * 24


def test_the_stock_autoscaler_is_trouble_after_thirty_seconds_and_not_before() -> None:
    guard = AutoscalerGuard()
    said = [guard.trouble(sighting("controller", beat=at), at) for at in (0, 15, 29, 30)]
    assert said == [None, None, None, "Deployment autoscaler is not hasgpu's"]
    assert guard.trouble(sighting(beat=31), 31) is None


def test_a_deployment_that_is_gone_is_trouble() -> None:
    guard = AutoscalerGuard()
    assert [guard.trouble(sighting(None, beat=at), at) for at in (0, 30)][1] == "Deployment autoscaler is not hasgpu's"


def test_a_lease_that_nobody_renews_is_trouble_whoever_holds_it() -> None:
    for beat in (7, None):
        guard = AutoscalerGuard()
        said = [guard.trouble(sighting(beat=beat), at) for at in (0, 29, 30)]
        assert said == [None, None, "nobody renews Lease hasgpu-allocator"]


def test_a_short_absence_is_not_told() -> None:
    guard = AutoscalerGuard()
    said = [guard.trouble(sighting("controller" if at == 20 else "hasgpu-autoscaler", beat=at), at) for at in range(60)]
    assert set(said) == {None}
