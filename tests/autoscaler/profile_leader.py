"""One leader's profiles on the fake API server: what it believes of them, and what it writes to them."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from hasgpu.autoscaler.profile_book import Believed, ProfileBook, ProfileKey
from hasgpu.autoscaler.profile_fitting import ProfileFitting
from hasgpu.autoscaler.work_meter import WorkSample
from hasgpu.cluster.custom import LatencyProfile
from hasgpu.cluster.paths import LATENCY_PROFILES, collection, named
from hasgpu.cluster.reflector import Reflector
from hasgpu.fitter.child import answer
from hasgpu.fitter.reference_file import packaged_reference
from hasgpu.prediction.season import LoadHistory

from tests.autoscaler.replica import until
from tests.cluster.fake_api import FakeApi

V100, L4 = "Tesla-V100-SXM2-16GB", "NVIDIA-L4"
PATH = named(LATENCY_PROFILES, "ns", "model")


class Leader:
    """Book and fitting of one leader; every step waits until the watch shows what is there."""

    def __init__(self, api: FakeApi) -> None:
        self.api, self.fits, self.leading = api, 0, True
        self.broken = ""
        self.loads: dict[ProfileKey, dict[str, LoadHistory]] = {}
        self.profiles = Reflector(api.session(), collection(LATENCY_PROFILES), LatencyProfile).start()
        self.book = ProfileBook(self.profiles)
        answering = partial(answer, reference=packaged_reference())

        def fit(order: bytes) -> bytes:
            self.fits += 1
            return msgspec.json.encode({"problem": self.broken}) if self.broken else answering(order)

        self.fitting = ProfileFitting(
            api.session(),
            self.profiles,
            self.book.served,
            lambda: self.loads,
            lambda now: self.leading,
            fit,
            clock=lambda: 0.0,
        )
        assert self.profiles.wait_synced(5.0)

    def turn(self, now: float) -> None:
        self.settle()
        self.fitting.turn(now)
        self.settle()

    def settle(self) -> None:
        until_shown(self.api, self.profiles)

    def serve(self, sm: int, work_ms: float, now: float, requests: float = 60.0, product: str = V100) -> None:
        sample = WorkSample(product=product, sm_percent=sm, work_s=work_ms / 1e3, requests=requests, overloaded=False)
        self.book.observe("ns", "model", sample, now)

    def believed(self, product: str = V100, now: float = 0.0) -> Believed:
        found = self.book.believed("ns", "model", product, now)
        assert found is not None
        return found

    @property
    def status(self) -> dict[str, Any]:
        found = self.api.get(PATH)
        assert found is not None
        status = found["status"]
        assert isinstance(status, dict)
        return status

    @property
    def fitted(self) -> tuple[str, str]:
        (condition,) = self.status["conditions"]
        return condition["status"], condition["reason"]


def spec(level_ms: float = 10.0, window: str = "40ms") -> dict[str, Any]:
    cells = [
        {"batch": batch, "sm": sm, "quota": 100, "latencyMs": level_ms * batch * (100 / sm) ** 0.8}
        for batch in (1, 4)
        for sm in (10, 30, 100)
    ]
    measurement = {"gpuProduct": V100, "gate": "gpu-time", "window": window, "cells": cells}
    return {"model": "model", "measurements": [measurement]}


def until_shown(api: FakeApi, profiles: Reflector[LatencyProfile]) -> None:
    """Until the watch shows the profiles that there are, each in its last version."""

    def same() -> bool:
        there = {each["metadata"]["resourceVersion"] for each in api.list(collection(LATENCY_PROFILES))}
        return {each.metadata.resource_version for each in profiles.snapshot()} == there

    until(same)
