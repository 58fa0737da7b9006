"""The table for serving: small, quick, and the same surface that was fitted."""

from __future__ import annotations

import json
import time

import pytest
from hasgpu.prediction.cells import GRID_BATCHES, product_of
from hasgpu.prediction.rapp import fit_rapp
from hasgpu.prediction.table import MOST_BYTES, to_learned, to_surface

from tests.prediction.shapes import GRID, PLAN, measured, reference

TABLE = fit_rapp(reference(), measured(*PLAN))


def test_the_surface_read_from_the_table_is_the_one_that_was_fitted() -> None:
    surface = to_surface(json.loads(json.dumps(to_learned(TABLE))))
    for batch in GRID_BATCHES:
        for sm in (5, 35, 100):
            prediction = TABLE.predict(product_of((batch,), (sm,), (100,)))
            assert surface.work_s(batch, sm) == pytest.approx(prediction.latency_s[0], rel=1e-3)
            edge_s = surface.work_s(batch, sm) * (1.0 + surface.spread(batch, sm))
            assert edge_s >= prediction.high_s[0] * 0.999
    assert surface.launch_s(20) == pytest.approx(TABLE.predict(product_of((1,), (100,), (20,))).latency_s[0], rel=1e-3)


def test_launching_keeps_the_half_width_that_was_fitted_for_each_share() -> None:
    surface = to_surface(json.loads(json.dumps(to_learned(TABLE))))
    for sm in (5, 35, 100):
        prediction = TABLE.predict(product_of((1,), (sm,), (30,)))
        assert 1.0 + surface.launch_spread(sm) == pytest.approx(
            prediction.high_s[0] / prediction.latency_s[0], rel=0.02
        )


def test_a_table_of_before_launch_spreads_were_kept_is_still_read() -> None:
    learned = {key: value for key, value in to_learned(TABLE).items() if key != "launchSpread"}
    assert to_surface(learned).launch_spread(30) < 0.001


def test_the_table_fits_an_object_many_times_over() -> None:
    assert len(json.dumps(to_learned(TABLE))) < MOST_BYTES / 8


def test_ten_thousand_predictions_take_less_than_a_tenth_of_a_second() -> None:
    at = GRID.at(slice(None))
    many = product_of(range(1, 9), range(1, 101, 4), range(5, 101, 2))
    TABLE.predict(at)
    took_s = []
    for _ in range(3):
        started_at = time.process_time()
        TABLE.predict(many)
        took_s.append(time.process_time() - started_at)
    assert len(many) >= 9_600
    assert min(took_s) < 0.1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        pytest.param("version", 2, "version must be 1, was: 2", id="another version"),
        pytest.param("sms", [5, 5], "sms must be rising", id="shares that do not rise"),
        pytest.param("launchMs", [1.0], "launchMs must have rows of", id="a row too short"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_by_key(key: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_surface({**to_learned(TABLE), key: value})
