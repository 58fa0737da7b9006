"""The stat wire, against bytes written by hand from Knative's field numbers."""

from __future__ import annotations

import struct

import pytest
from hasgpu.model.keys import RevisionKey
from hasgpu.model.load import StatMessage
from hasgpu.stats.wire import WireError, decode_frame, decode_stat, encode_frame
from hypothesis import given
from hypothesis import strategies as st

KEY = RevisionKey("ns", "hello-00001")


def stat_of(concurrency: float = 1.5, key: RevisionKey = KEY, timestamp_s: float = 0) -> StatMessage:
    return StatMessage(
        key=key,
        pod_name="activator-1",
        average_concurrent_requests=concurrency,
        average_proxied_concurrent_requests=0.5,
        request_count=3.0,
        proxied_request_count=1.0,
        process_uptime_s=7.0,
        timestamp_s=timestamp_s,
    )


def _bytes(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2, len(payload)]) + payload


def _double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def frame(*stats: bytes | None, namespace: bytes = b"ns", name: bytes = b"hello-00001") -> bytes:
    messages = (_bytes(1, namespace) + _bytes(2, name) + (b"" if stat is None else _bytes(3, stat)) for stat in stats)
    return b"".join(_bytes(1, message) for message in messages)


def test_a_frame_of_an_activator_is_read() -> None:
    sent = _bytes(1, b"activator-1") + _double(2, 1.5) + _double(4, 3.0)
    assert decode_frame(frame(sent), 7.5)[0].timestamp_s == 7.5
    (got,) = decode_frame(frame(sent))
    assert (got.key, got.pod_name, got.timestamp_s) == (KEY, "activator-1", 0)
    assert (got.average_concurrent_requests, got.request_count, got.proxied_request_count) == (1.5, 3.0, 0.0)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(None), id="a message without a stat"),
        pytest.param(frame(_double(2, 1.0), name=b""), id="a message without a name"),
        pytest.param(frame(_double(2, 1.0), namespace=b""), id="a message without a namespace"),
        pytest.param(frame(_double(2, float("nan"))), id="a load that is not a number"),
        pytest.param(frame(_double(4, float("-inf"))), id="an infinite rate"),
        pytest.param(frame(_double(2, 1.7e308)), id="a load that would overflow a sum"),
        pytest.param(frame(_double(2, -1e300)), id="as absurd a load below zero"),
    ],
)
def test_what_says_nothing_is_skipped_and_the_rest_is_kept(sent: bytes) -> None:
    assert [each.average_concurrent_requests for each in decode_frame(sent + frame(_double(2, 2.0)))] == [2.0]


def test_garbage_is_an_error() -> None:
    with pytest.raises(WireError, match="not a WireStatMessages frame of 5 bytes"):
        decode_frame(b"\xff\xff\xff\xff\xff")
    with pytest.raises(WireError, match="not a Stat"):
        decode_stat(KEY, b"\xff\xff\xff")
    with pytest.raises(WireError, match="a number that is none"):
        decode_stat(KEY, _double(2, float("inf")))


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 2**33)), max_size=20))
def test_forwarded_frames_arrive_as_they_were(values: list[tuple[float, int]]) -> None:
    sent = [stat_of(load, RevisionKey("ns", f"rev-{i}"), at) for i, (load, at) in enumerate(values)]
    assert decode_frame(encode_frame(sent)) == sent
