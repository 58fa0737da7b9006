"""Process fitter: static features of a model from its ONNX graph. Needs the onnx package; reads one file."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from .errors import FitError

_DENSE = ("Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "Clip", "HardSwish", "Gelu", "Sigmoid", "Erf")


def count_operators(path: Path) -> dict[str, float]:
    """Operator counts, multiply-accumulates at batch 1 and weights, as the static table counts them."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    except Exception as error:
        raise FitError(f"{path}: is no ONNX model: {error}") from error
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for value in (*graph.value_info, *graph.output, *graph.input):
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(dim.dim_value or 1 for dim in dims))
    counts = Counter(node.op_type for node in graph.node)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    dense = [node for node in graph.node if node.op_type in _DENSE]
    macs = sum(_conv_macs(node, shapes) for node in convolutions) + sum(_dense_macs(node, shapes) for node in dense)
    return {
        "gmac": macs / 1e9,
        "n_conv2d": float(len(convolutions)),
        "n_dense": float(len(dense)),
        "n_relu": float(sum(counts[name] for name in _ACTIVATIONS)),
        "n_nodes": float(sum(1 for node in graph.node if any(name in shapes for name in node.input))),
        "conv_weights_m": sum(prod(shapes[node.input[1]]) for node in convolutions) / 1e6,
        "dense_weights_m": sum(prod(_weight(node, shapes)) for node in dense) / 1e6,
        "n_grouped_conv": float(sum(1 for node in convolutions if _groups(node) > 1)),
    }


def _conv_macs(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """Outputs times the weights that each sums over: (out, in/groups, kh, kw)."""
    return prod(shapes.get(node.output[0], (0,))) * prod(shapes[node.input[1]][1:])


def _dense_macs(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    weight = _weight(node, shapes)
    outputs = prod(shapes.get(node.output[0], (0,)))
    inner = shapes.get(node.input[0], (0,))[-1]
    return outputs * inner if weight else 0


def _weight(node: Any, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    return shapes.get(node.input[1], (0,))


def _groups(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
