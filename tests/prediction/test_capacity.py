"""Capacity against exact serving of a row, and its monotone shape."""

from __future__ import annotations

import dataclasses
import math
import random
import time

import numpy as np
import pytest
from hasgpu.prediction.capacity import CapacityTerms, capacity_table, latency_quantile_s, launch_edge
from hasgpu.prediction.surface import NEAR_SPREAD, Line, Surface, surface_of_work
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction.row import served_latencies_s

TERMS = CapacityTerms(slo_latency_s=0.2, percentile=95.0, batch_size=1, overhead_s=0.0, window_s=0.040)


def surface(work_s: float) -> Surface:
    """A model whose careful work at every share is exactly ``work_s``."""
    return surface_of_work(1, 5, work_s / (1.0 + NEAR_SPREAD))


def surface_of_batches(one_s: float, eight_s: float) -> Surface:
    """A model of which eight requests at once take so long."""
    lines = (surface_of_work(1, 100, one_s).over_sm[0], surface_of_work(8, 100, eight_s).over_sm[0])
    return Surface(batches=(1, 8), over_sm=lines, over_quota=None)


@pytest.mark.parametrize(
    ("work_ms", "percent", "slo_ms"),
    [(18.5, 77, 82), (77.0, 96, 410), (17.7, 41, 220), (20.5, 33, 162), (3.3, 20, 58), (36.2, 40, 458), (4.7, 12, 154)],
)
def test_at_capacity_the_percentile_meets_the_slo_and_hardly_more(work_ms: float, percent: int, slo_ms: float) -> None:
    terms = dataclasses.replace(TERMS, slo_latency_s=slo_ms / 1e3)
    rate = capacity_table(surface(work_ms / 1e3), terms).rate(5, percent)
    served = served_latencies_s(rate, (work_ms / 1e3,), percent / 100.0, 0.040, requests=8000, seed=7)
    assert 0.8 <= float(np.percentile(served, 95)) / (slo_ms / 1e3) <= 1.1


@pytest.mark.parametrize("seed", range(12))
def test_the_percentile_is_told_as_it_is_served(seed: int) -> None:
    """Any work, batch, quota and load: told in advance within 15 % of what exact serving gives."""
    chance = random.Random(seed)
    work_s, percent, size = chance.uniform(0.008, 0.1), chance.randint(15, 100), chance.choice((1, 2, 4, 8))
    cheap = surface_of_batches(work_s, work_s * chance.uniform(2.0, 7.0))
    terms = dataclasses.replace(TERMS, batch_size=size, edge=0.0)
    known = (1, 2, 4, 8)
    works = list(np.interp(range(1, size + 1), known, [cheap.work_s(batch, 100) for batch in known]))
    rate = chance.uniform(0.2, 0.75) * size / works[-1] * percent / 100.0
    told_s = latency_quantile_s(cheap, terms, 100, percent, rate)
    served = served_latencies_s(rate, works, percent / 100.0, 0.040, requests=12_000, seed=seed)
    assert told_s == pytest.approx(float(np.percentile(served, 95)), rel=0.15)


@pytest.mark.parametrize("seed", range(16))
def test_slot_time_that_was_saved_is_reckoned_with_where_the_gate_lets_it_be_spent(seed: int) -> None:
    """At any quota, and however long the server takes between two inferences."""
    chance = random.Random(seed)
    work_s, percent, size = chance.uniform(0.005, 0.05), chance.randint(10, 99), chance.choice((1, 1, 2, 4, 8))
    cheap = surface_of_batches(work_s, chance.uniform(4.0, 8.0) * work_s)
    gap_s = chance.choice((0.0, 0.0007))
    terms = dataclasses.replace(TERMS, batch_size=size, edge=0.0, gap_s=gap_s)
    known = (1, 2, 4, 8)
    works = list(np.interp(range(1, size + 1), known, [cheap.work_s(batch, 100) for batch in known]))
    rate = chance.uniform(0.1, 0.6) * size / works[-1] * percent / 100.0
    told_s = latency_quantile_s(cheap, dataclasses.replace(terms, grace_s=0.002), 100, percent, rate)
    served = served_latencies_s(rate, works, percent / 100.0, 0.040, 12_000, seed, grace_s=0.002, gap_s=gap_s)
    assert told_s == pytest.approx(float(np.percentile(served, 95)), rel=0.15)
    assert told_s <= latency_quantile_s(cheap, terms, 100, percent, rate)


def test_what_a_server_takes_between_two_inferences_costs_capacity() -> None:
    slow = dataclasses.replace(TERMS, gap_s=0.005)
    assert capacity_table(surface(0.020), slow).rate(5, 100) < 0.85 * capacity_table(surface(0.020), TERMS).rate(5, 100)


def test_more_than_can_be_done_has_no_percentile() -> None:
    terms = dataclasses.replace(TERMS, batch_size=8, edge=0.0)
    assert latency_quantile_s(surface_of_batches(0.01, 0.02), terms, 100, 100, 500.0) == math.inf


def test_a_request_that_cannot_be_in_time_has_no_capacity() -> None:
    table = capacity_table(surface(0.150), TERMS)
    assert table.rate(5, 30) == 0.0
    assert table.rate(5, 100) > 0.0


def test_an_overhead_beyond_the_slo_leaves_nothing() -> None:
    table = capacity_table(surface(0.010), dataclasses.replace(TERMS, overhead_s=0.25))
    assert max(max(line) for line in table.requests_per_s) == 0.0


def test_batching_serves_more_where_a_batch_is_cheaper_than_its_requests() -> None:
    cheap = surface_of_batches(0.010, 0.020)
    alone = capacity_table(cheap, TERMS).rate(100, 100)
    batched = capacity_table(cheap, dataclasses.replace(TERMS, batch_size=8)).rate(100, 100)
    assert batched > 2 * alone


def test_large_batches_are_reckoned_in_groups_quickly_and_serve_about_as_much_where_they_are_no_cheaper() -> None:
    cheap = surface_of_batches(0.010, 0.020)
    rates = []
    for size in (8, 12, 16, 64):
        began_s = time.process_time()
        terms = dataclasses.replace(TERMS, slo_latency_s=0.5, batch_size=size)
        rates.append(capacity_table(cheap, terms).rate(100, 100))
        assert time.process_time() - began_s < 5.0
    assert rates == pytest.approx([rates[0]] * 4, rel=0.15)


def test_under_the_launch_gate_doubt_about_launching_and_interference_cost_capacity() -> None:
    launching = Line(at=(0.0,), log_seconds=(math.log(0.1),), slope_below=0.0, slope_above=0.0)
    doubt = Line(at=(0.0,), log_seconds=(math.log(0.2),), slope_below=0.0, slope_above=0.0)
    sure = dataclasses.replace(surface(0.01), over_quota=launching)
    terms = dataclasses.replace(TERMS, gate="launch")

    def rate(of: Surface, terms: CapacityTerms) -> float:
        return capacity_table(of, terms).rate(50, 50)

    unsure = dataclasses.replace(sure, launch_spreads=doubt)
    slower = dataclasses.replace(sure, over_quota=dataclasses.replace(launching, log_seconds=(math.log(0.12),)))
    assert rate(unsure, terms) == pytest.approx(rate(slower, terms))
    assert rate(unsure, dataclasses.replace(terms, launch_edge=0.0)) == pytest.approx(rate(sure, terms))
    assert rate(sure, dataclasses.replace(terms, margin=0.2)) == pytest.approx(rate(slower, terms))


@pytest.mark.parametrize(
    ("risk_quantile", "edge"),
    [
        pytest.param(0.5, 0.0, id="who plans for the middle of demand takes the middle of launch times"),
        pytest.param(0.8, 0.657, id="between them care grows with the quantile"),
        pytest.param(0.9, 1.0, id="from the default on launch times are taken at their edge"),
        pytest.param(0.999, 1.0, id="beyond its edge the interval says nothing"),
    ],
)
def test_launch_times_are_taken_as_carefully_as_demand(risk_quantile: float, edge: float) -> None:
    assert launch_edge(risk_quantile) == pytest.approx(edge, abs=1e-3)


def test_under_the_launch_gate_a_gpu_bound_model_keeps_its_rate_at_half_the_quota() -> None:
    bound = Surface(batches=(1,), over_sm=surface_of_work(1, 5, 0.040).over_sm, over_quota=None)
    table = capacity_table(bound, dataclasses.replace(TERMS, gate="launch"))
    assert table.rate(5, 100) > 0.9 * table.rate(100, 100)


def test_an_explicit_share_gets_a_line_of_its_own() -> None:
    table = capacity_table(surface_of_work(1, 100, 0.020), TERMS, extra_sm_percents=(33,))
    assert table.rate(33, 100) > table.rate(30, 100)


@settings(max_examples=8, deadline=None)
@given(
    work_s=st.floats(0.001, 0.3),
    slo_s=st.floats(0.02, 2.0),
    percentile=st.sampled_from([50.0, 95.0, 99.9]),
    batch=st.sampled_from([1, 3, 8]),
)
def test_capacity_never_falls_with_sm_or_quota(work_s: float, slo_s: float, percentile: float, batch: int) -> None:
    terms = dataclasses.replace(TERMS, slo_latency_s=slo_s, percentile=percentile, batch_size=batch)
    grid = np.array(capacity_table(surface_of_work(1, 30, work_s), terms).requests_per_s)
    assert np.all(grid >= 0.0)
    assert np.all(np.diff(grid, axis=0) >= 0.0)
    assert np.all(np.diff(grid, axis=1) >= 0.0)
