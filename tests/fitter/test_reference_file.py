"""The packaged reference and the pieces it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hasgpu.fitter.errors import FitError
from hasgpu.fitter.grow import taken_apart
from hasgpu.fitter.onnx_file import count_operators
from hasgpu.fitter.reference_file import NAME, packaged_reference, parse_reference, write_reference
from hasgpu.prediction.statics import STATIC_FEATURES

RESNET50 = {
    "gmac": 4.09,
    "n_conv2d": 53.0,
    "n_dense": 1.0,
    "n_relu": 49.0,
    "n_nodes": 108.0,
    "conv_weights_m": 23.45,
    "dense_weights_m": 2.048,
    "n_grouped_conv": 0.0,
}


def test_the_packaged_file_is_what_writing_it_again_gives(tmp_path: Path) -> None:
    reference = packaged_reference()
    write_reference(tmp_path / NAME, reference)
    again = parse_reference((tmp_path / NAME).read_text(), NAME)
    write_reference(tmp_path / "twice", again)
    assert (tmp_path / NAME).read_bytes() == (tmp_path / "twice").read_bytes()
    assert (tmp_path / NAME).stat().st_size < 128 * 1024


def test_operator_counts_narrow_what_is_expected_of_a_model() -> None:
    reference = packaged_reference()
    given = reference.given(RESNET50)
    assert given.variances[0] < 0.5 * reference.variances[0]
    assert (given.variances > 0.0).all()


def test_a_missing_operator_count_is_named() -> None:
    with pytest.raises(ValueError, match="n_relu"):
        packaged_reference().given({name: 1.0 for name in STATIC_FEATURES if name != "n_relu"})


def test_a_file_of_another_version_is_refused() -> None:
    with pytest.raises(FitError, match="version 99"):
        parse_reference('{"version": 99}', "some.json")


def test_trees_taken_apart_predict_what_the_library_predicts() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    chance = np.random.default_rng(3)
    features = chance.normal(size=(600, 3))
    target = np.sin(features[:, 0]) + features[:, 1] * (features[:, 2] > 0)
    model = HistGradientBoostingRegressor(max_iter=20, max_leaf_nodes=8, random_state=0).fit(features, target)
    assert taken_apart(model).predict(features) == pytest.approx(model.predict(features))


def test_macs_and_operators_are_counted_from_an_onnx_graph(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [16, 3, 3, 3], np.zeros(432, dtype=np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["y"], ["z"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 16, 32, 32])],
        [weight],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "tiny.onnx"))
    counts = count_operators(tmp_path / "tiny.onnx")
    assert counts["gmac"] == pytest.approx(16 * 32 * 32 * 27 / 1e9)
    assert (counts["n_conv2d"], counts["n_relu"], counts["n_dense"]) == (1.0, 1.0, 0.0)
    assert set(counts) == set(STATIC_FEATURES)


def test_what_is_no_onnx_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_text("hello")
    with pytest.raises(FitError, match=r"no\.onnx"):
        count_operators(tmp_path / "no.onnx")
