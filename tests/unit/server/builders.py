"""Small real ONNX models and the folders that hold them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgemodel_contract.card import CARD_FILE, MODEL_FILE, Comparison, ModelCard, Provenance
from edgemodel_contract.encoding import encode
from edgemodel_contract.task import Datatype, Preprocessing, Recipe, TensorSpec

ELEMENT_TYPES: dict[Datatype, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
_DATATYPES = {number: name for name, number in ELEMENT_TYPES.items()}


def identity(datatypes: Sequence[Datatype], shape: Sequence[int | str]) -> onnx.ModelProto:
    """Inputs ``in_<datatype>`` copied to outputs ``out_<datatype>``."""
    nodes = [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in datatypes]
    return _model(
        nodes,
        [helper.make_tensor_value_info(f"in_{kind}", ELEMENT_TYPES[kind], shape) for kind in datatypes],
        [helper.make_tensor_value_info(f"out_{kind}", ELEMENT_TYPES[kind], shape) for kind in datatypes],
    )


def mlp(features: int = 4, hidden: int = 8, classes: int = 3, seed: int = 0) -> onnx.ModelProto:
    """``x`` (N, features) → ``logits`` (N, classes)."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.standard_normal((features, hidden)).astype(np.float32),
        "w2": random.standard_normal((hidden, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["logits"]),
    ]
    return _model(nodes, [_floats("x", ["N", features])], [_floats("logits", ["N", classes])], weights)


def brighter_side(
    channels: int = 1, size: int = 8, layout: str = "NCHW", softmax: bool = False, datatype: Datatype = "FP32"
) -> onnx.ModelProto:
    """An image classifier that sees: logit 0 is the mean of the left half, logit 1 of the right, 2 is their gap.

    ``image`` (N, C, H, W) or (N, H, W, C) → ``scores`` (N, 3).
    """
    dims: dict[str, int | str] = {"N": "N", "C": channels, "H": size, "W": size}
    shape = [dims[axis] for axis in layout]
    side = np.arange(size) < size // 2
    pixels = {"C": np.ones(channels), "H": np.ones(size), "W": side.astype(float)}
    left = np.einsum("i,j,k->ijk", *(pixels[axis] for axis in layout[1:])).ravel() / (channels * size * size // 2)
    right = (left == 0) * left.max()
    weights = {"w": np.stack([left, right, left * 0], axis=1).astype(np.float32)}
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits" if softmax else "scores"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=-1))
    image = helper.make_tensor_value_info("image", ELEMENT_TYPES[datatype], shape)
    return _model(nodes, [image], [_floats("scores", ["N", 3])], weights)


def dynamically_quantized(features: int = 4) -> onnx.ModelProto:
    """``x`` (N, features) → ``y`` (N, features): rounded to 255 steps of the batch's own range."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return _model(nodes, [_floats("x", ["N", features])], [_floats("y", ["N", features])])


def picky_lookup() -> onnx.ModelProto:
    """``index`` INT64 (N) → ``value`` (N): refuses indices over 2."""
    node = helper.make_node("Gather", ["table", "index"], ["value"])
    index = helper.make_tensor_value_info("index", TensorProto.INT64, ["N"])
    return _model([node], [index], [_floats("value", ["N"])], {"table": np.array([10, 20, 30], dtype=np.float32)})


def pair_sum() -> onnx.ModelProto:
    """``a`` (N) + ``b`` (M) → ``sum``: fails where N and M cannot be broadcast."""
    node = helper.make_node("Add", ["a", "b"], ["sum"])
    return _model([node], [_floats("a", ["N"]), _floats("b", ["M"])], [_floats("sum", ["K"])])


def countdown() -> onnx.ModelProto:
    """``count`` INT64 (1) → ``total`` FP32 (1): adds one ``count`` times, so it takes as long as one asks for."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Add", ["sum_in", "one"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            _floats("sum_in", [1]),
        ],
        [helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []), _floats("sum_out", [1])],
        [numpy_helper.from_array(np.ones(1, dtype=np.float32), "one")],
    )
    nodes = [
        helper.make_node("Squeeze", ["count", "axes"], ["trips"]),
        helper.make_node("Loop", ["trips", "yes", "zero"], ["total"], body=body),
    ]
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [1])
    constants = {"axes": np.array([0]), "yes": np.array(True), "zero": np.zeros(1, dtype=np.float32)}
    return _model(nodes, [count], [_floats("total", [1])], constants)


def detector() -> onnx.ModelProto:
    """``x`` (N, 64) → ``boxes`` (K, 4): eight candidates a row, of which those with a score over one half are kept."""
    nodes = [
        helper.make_node("Reshape", ["x", "candidates"], ["rows"]),
        helper.make_node("Slice", ["rows", "zero", "four", "one"], ["corners"]),
        helper.make_node("Slice", ["rows", "four", "five", "one"], ["column"]),
        helper.make_node("Unsqueeze", ["corners", "zero"], ["images"]),
        helper.make_node("Reshape", ["column", "classes"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["images", "scores", "most", "overlap", "least"], ["found"]),
        helper.make_node("Slice", ["found", "two", "three", "one"], ["places"]),
        helper.make_node("Squeeze", ["places", "one"], ["numbers"]),
        helper.make_node("Gather", ["corners", "numbers"], ["boxes"]),
    ]
    constants = {
        "candidates": np.array([-1, 8]),
        "classes": np.array([1, 1, -1]),
        "most": np.array([100]),
        "overlap": np.array([0.5], dtype=np.float32),
        "least": np.array([0.5], dtype=np.float32),
        **{name: np.array([number]) for number, name in enumerate(["zero", "one", "two", "three", "four", "five"])},
    }
    return _model(nodes, [_floats("x", ["N", 64])], [_floats("boxes", ["K", 4])], constants)


def scaled_integers() -> onnx.ModelProto:
    """``x`` INT64 (N, 4) → ``y`` (N, 4): in thousandths of the largest number of the batch."""
    nodes = [
        helper.make_node("Mul", ["x", "thousand"], ["times"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Max", ["largest", "one"], ["scale"]),
        helper.make_node("Div", ["times", "scale"], ["y"]),
    ]
    whole = {name: helper.make_tensor_value_info(name, TensorProto.INT64, ["N", 4]) for name in "xy"}
    return _model(nodes, [whole["x"]], [whole["y"]], {"thousand": np.array(1000), "one": np.array(1)})


def scaled_by_a_number() -> onnx.ModelProto:
    """``x`` (N, 2) times ``factor`` () → ``y`` (N, 2), and ``factor`` itself → ``same`` ()."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"]), helper.make_node("Identity", ["factor"], ["same"])]
    return _model(
        nodes,
        [_floats("x", ["N", 2]), _floats("factor", [])],
        [_floats("y", ["N", 2]), _floats("same", [])],
    )


def write_folder(
    path: Path,
    model: onnx.ModelProto,
    *,
    name: str = "digits",
    labels: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
    recipe: Recipe | None = None,
    comparison: Comparison | None = None,
) -> Path:
    """Write ``model`` and a card that describes it truly, but for what is given here otherwise."""
    path.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString()
    (path / MODEL_FILE).write_bytes(data)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    card = ModelCard(
        name=name,
        inputs=tuple(inputs or map(spec, model.graph.input)),
        outputs=tuple(outputs or map(spec, model.graph.output)),
        files={MODEL_FILE: digest},
        labels=tuple(labels),
        preprocessing=preprocessing or Preprocessing(),
        provenance=Provenance(
            source_uri="https://models.example/digits.onnx",
            source_digest="sha256:" + "0" * 64,
            task="1" * 64,
            recipe=recipe or Recipe(),
            method="original",
            engine="engine:1",
            libraries={},
        ),
        comparison=comparison or Comparison(source_size=len(data), model_size=len(data)),
    )
    (path / CARD_FILE).write_bytes(encode(card))
    return path


def spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """The card's form of an input or output."""
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, datatype=_DATATYPES[tensor.elem_type], shape=shape)


def _floats(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray[Any, np.dtype[Any]]] | None = None,
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
