"""Reports become concurrency and rate; no data is not zero where pods are scraped."""

from __future__ import annotations

from hasgpu.decision.load_windows import LoadWindows
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage

T0 = 1_700_000_000.0


def stat(concurrency: float, proxied: float = 0, count: float = 0, proxied_count: float = 0) -> StatMessage:
    return StatMessage(
        key=RevisionKey("ns", "rev"),
        pod_name="pod",
        average_concurrent_requests=concurrency,
        average_proxied_concurrent_requests=proxied,
        request_count=count,
        proxied_request_count=proxied_count,
        process_uptime_s=0,
        timestamp_s=0,
    )


def test_reporters_of_a_second_are_summed_without_what_was_proxied() -> None:
    windows = LoadWindows(60, 6)
    for second in range(10):
        windows.record(T0 + second, stat(10, proxied=2, count=20, proxied_count=3))
        windows.record(T0 + second, stat(3.5, count=4))
    assert windows.stable_and_panic("concurrency", T0 + 9, scraped=True) == (11.5, 11.5)
    assert windows.stable_and_panic("rps", T0 + 9, scraped=True) == (21.0, 21.0)


def test_no_data_is_unknown_where_pods_are_scraped_and_zero_where_only_activators_report() -> None:
    windows = LoadWindows(60, 6)
    assert windows.stable_and_panic("concurrency", T0, scraped=True) is None
    assert windows.stable_and_panic("concurrency", T0, scraped=False) == (0.0, 0.0)
    windows.record(T0, stat(5))
    assert windows.stable_and_panic("concurrency", T0 + 61, scraped=True) is None


def test_the_panic_window_forgets_sooner() -> None:
    windows = LoadWindows(60, 6)
    for second in range(60):
        windows.record(T0 + second, stat(60 if second < 54 else 6))
    assert windows.stable_and_panic("concurrency", T0 + 59, scraped=True) == (54.6, 6.0)


def test_weighted_windows_follow_faster() -> None:
    linear, weighted = LoadWindows(60, 6), LoadWindows(60, 6, "weighted-exponential")
    for second in range(60):
        for windows in (linear, weighted):
            windows.record(T0 + second, stat(100 if second >= 50 else 0))
    fast = weighted.stable_and_panic("concurrency", T0 + 59, scraped=True)
    slow = linear.stable_and_panic("concurrency", T0 + 59, scraped=True)
    assert fast is not None
    assert slow is not None
    assert fast[0] > 80 > slow[0]
