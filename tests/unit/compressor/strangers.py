"""Tiny graphs of the kinds that exporters write and that this project's own networks never have; each with samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tests.unit.compressor import builders

Arrays = dict[str, NDArray[Any]]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
WIDTH, CLASSES, SIDE = 32, 4, 12
SAMPLES = 24


@dataclass(frozen=True)
class Stranger:
    """A model and the arrays of its dataset."""

    proto: onnx.ModelProto
    arrays: Arrays
    options: tuple[str, ...] = ()
    """Of the command line, where the model needs some."""


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal numbers, as wide as they keep the size of what they are multiplied with."""
    fan = shape[0] if len(shape) == 2 else int(np.prod(shape[1:], initial=1))
    return np.asarray(np.random.default_rng(seed).normal(size=shape) / np.sqrt(max(fan, 1)), np.float32)


def rows(*shape: int) -> NDArray[np.float32]:
    """SAMPLES samples of this shape."""
    return np.random.default_rng(9).normal(size=(SAMPLES, *shape)).astype(np.float32)


def value(name: str, shape: list[int | str] | None, kind: int = FLOAT) -> ValueInfoProto:
    """An input or an output."""
    return helper.make_tensor_value_info(name, kind, shape)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node named after its first output; names of tensors are separated by spaces, ``_`` stands for one left out."""
    read, written = ([("" if name == "_" else name) for name in text.split()] for text in (inputs, outputs))
    made = helper.make_node(kind, read, written, **attributes)
    made.name = f"node_{written[0]}"
    return made


def ints(*numbers: int) -> NDArray[np.int64]:
    """A vector of sizes."""
    return np.array(numbers, np.int64)


def build(
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    weights: Mapping[str, NDArray[Any]],
    opset: int = 17,
    ir: int = 8,
    **domains: int,
) -> onnx.ModelProto:
    """A model; ``domains`` are opsets of other domains, with ``_`` for the dot in their names."""
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name.replace("_", "."), version) for name, version in domains.items()]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "stranger", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="stranger")


def loop() -> Stranger:
    """Three steps of Relu(h·W): the loop's body reads W of the graph around it."""
    body = helper.make_graph(
        [node("MatMul", "h w", "m"), node("Relu", "m", "next"), node("Identity", "go", "on")],
        "body",
        [value("i", [], INT64), value("go", [], TensorProto.BOOL), value("h", None)],
        [value("on", [], TensorProto.BOOL), value("next", None)],
    )
    nodes = [node("Loop", "trips yes x", "h_last", body=body), node("MatMul", "h_last v", "scores")]
    weights: Arrays = {"w": floats(WIDTH, WIDTH), "v": floats(WIDTH, CLASSES)}
    weights |= {"trips": np.array(3, np.int64), "yes": np.array(True)}
    return Stranger(
        build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", CLASSES])], weights), {"x": rows(WIDTH)}
    )


def branch() -> Stranger:
    """An If on a constant, with the weights inside of the branches, and a product behind it."""

    def side(name: str, seed: int) -> GraphProto:
        weights = [numpy_helper.from_array(floats(WIDTH, WIDTH, seed=seed), f"w_{name}")]
        return helper.make_graph([node("MatMul", f"x w_{name}", name)], name, [], [value(name, None)], weights)

    nodes = [
        node("If", "yes", "h", then_branch=side("then", 1), else_branch=side("else", 2)),
        node("Relu", "h", "r"),
        node("MatMul", "r v", "scores"),
    ]
    weights: Arrays = {"yes": np.array(True), "v": floats(WIDTH, CLASSES)}
    return Stranger(
        build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", CLASSES])], weights), {"x": rows(WIDTH)}
    )


def contrib() -> Stranger:
    """onnxruntime's own operators, as its transformer optimizer leaves them in a file."""
    nodes = [
        node("FusedMatMul", "x w", "a", domain="com.microsoft", alpha=0.5),
        node("BiasGelu", "a b", "g", domain="com.microsoft"),
        node("SkipLayerNormalization", "g x gamma beta", "n", domain="com.microsoft"),
        node("MatMul", "n v", "y"),
    ]
    weights = {
        "w": floats(WIDTH, WIDTH),
        "b": floats(WIDTH),
        "gamma": np.ones(WIDTH, np.float32),
        "beta": np.zeros(WIDTH, np.float32),
        "v": floats(WIDTH, CLASSES),
    }
    proto = build(nodes, [value("x", ["N", "T", WIDTH])], [value("y", ["N", "T", CLASSES])], weights, com_microsoft=1)
    return Stranger(proto, {"x": rows(6, WIDTH)})


def sparse() -> Stranger:
    """A weight in the file's sparse form."""
    dense = floats(WIDTH, WIDTH) * (np.random.default_rng(1).random((WIDTH, WIDTH)) < 0.2)
    flat = np.flatnonzero(dense).astype(np.int64)
    proto = build(
        [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r v", "scores")],
        [value("x", ["N", WIDTH])],
        [value("scores", ["N", CLASSES])],
        {"v": floats(WIDTH, CLASSES)},
    )
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(dense.reshape(-1)[flat].astype(np.float32), "w"),
            numpy_helper.from_array(flat, "w_indices"),
            [WIDTH, WIDTH],
        )
    )
    return Stranger(proto, {"x": rows(WIDTH)})


def resize() -> Stranger:
    """A decoder with Resize as opset 11 writes it: an empty ``roi``, and scales."""
    nodes = [
        node("Conv", "x k1", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Resize", "b roi scales", "c", mode="nearest"),
        node("Conv", "c k2", "d", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Sigmoid", "d", "y"),
    ]
    weights = {
        "k1": floats(8, 3, 3, 3),
        "k2": floats(1, 8, 3, 3),
        "roi": np.zeros(0, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    proto = build(nodes, [value("x", ["N", 3, "H", "W"])], [value("y", ["N", 1, "H2", "W2"])], weights, opset=11)
    return Stranger(proto, {"x": rows(3, SIDE, SIDE)})


def detector() -> Stranger:
    """A head with NonMaxSuppression in the graph: as many rows come out as there are detections."""
    cells = (SIDE - 2) ** 2
    nodes = [
        node("Conv", "x k", "a", kernel_shape=[3, 3]),
        node("Relu", "a", "b"),
        node("Conv", "b kb", "box_map", kernel_shape=[1, 1]),
        node("Conv", "b ks", "score_map", kernel_shape=[1, 1]),
        node("Reshape", "box_map box_shape", "box_rows"),
        node("Transpose", "box_rows", "corners", perm=[0, 2, 1]),
        node("Reshape", "score_map score_shape", "score_rows"),
        node("Sigmoid", "score_rows", "scores"),
        node("NonMaxSuppression", "corners scores most overlap least", "kept", center_point_box=1),
    ]
    weights: Arrays = {
        "k": floats(8, 3, 3, 3),
        "kb": floats(4, 8, 1, 1),
        "ks": floats(2, 8, 1, 1, seed=3) * 4,
        "box_shape": ints(1, 4, cells),
        "score_shape": ints(1, 2, cells),
        "most": ints(20),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.5], np.float32),
    }
    proto = build(
        nodes,
        [value("x", [1, 3, SIDE, SIDE])],
        [value("corners", [1, cells, 4]), value("scores", [1, 2, cells]), value("kept", ["D", 3], INT64)],
        weights,
    )
    return Stranger(proto, {"x": rows(3, SIDE, SIDE)})


def suppressed() -> Stranger:
    """The same with the detections alone as outputs: first their numbers, then their scores."""
    stranger = detector()
    graph = stranger.proto.graph
    graph.initializer.append(numpy_helper.from_array(ints(0, 1, 2), "columns"))
    graph.node.append(node("Gather", "kept columns", "where", axis=1))
    graph.node.append(node("GatherND", "scores where", "sure"))
    del graph.output[:]
    graph.output.extend([value("kept", ["D", 3], INT64), value("sure", ["D"])])
    return stranger


def wide_bias() -> Stranger:
    """MatMul and an Add whose bias is a row (1, N), as tf2onnx and JAX write a dense layer."""
    nodes = [
        node("MatMul", "x w", "a"),
        node("Add", "a b", "h"),
        node("Relu", "h", "r"),
        node("MatMul", "r v", "c"),
        node("Add", "c d", "scores"),
    ]
    weights = {
        "w": floats(WIDTH, 2 * WIDTH),
        "b": floats(1, 2 * WIDTH),
        "v": floats(2 * WIDTH, CLASSES),
        "d": floats(1, CLASSES),
    }
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", CLASSES])], weights)
    return Stranger(proto, {"x": rows(WIDTH)})


def view() -> Stranger:
    """``x.view(x.size(0), C)`` between convolution and head: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        node("Conv", "x k1", "a", kernel_shape=[3, 3]),
        node("Relu", "a", "b"),
        node("Conv", "b k2", "c", kernel_shape=[3, 3]),
        node("Relu", "c", "d"),
        node("GlobalAveragePool", "d", "e"),
        node("Shape", "e", "shape"),
        node("Gather", "shape zero", "batch", axis=0),
        node("Unsqueeze", "batch", "batch1", axes=[0]),
        node("Concat", "batch1 channels", "target", axis=0),
        node("Reshape", "e target", "f"),
        node("Gemm", "f w o", "scores"),
    ]
    weights: Arrays = {
        "k1": floats(16, 3, 3, 3),
        "k2": floats(16, 16, 3, 3),
        "w": floats(16, CLASSES),
        "o": floats(CLASSES),
        "zero": np.array(0, np.int64),
        "channels": ints(16),
    }
    proto = build(nodes, [value("x", ["N", 3, SIDE, SIDE])], [value("scores", ["N", CLASSES])], weights, opset=11)
    return Stranger(proto, {"x": rows(3, SIDE, SIDE)})


def recurrent() -> Stranger:
    """An LSTM over (time, batch, features) whose states (layers, batch, hidden) are inputs and outputs."""
    hidden = 16
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t w r b _ h c", "y hn cn", hidden_size=hidden),
        node("Squeeze", "hn", "last", axes=[0]),
        node("Gemm", "last v o", "score"),
        node("Sigmoid", "score", "speech"),
    ]
    weights = {
        "w": floats(1, 4 * hidden, WIDTH),
        "r": floats(1, 4 * hidden, hidden),
        "b": floats(1, 8 * hidden),
        "v": floats(hidden, 1),
        "o": floats(1),
    }
    states: list[int | str] = [1, "N", hidden]
    proto = build(
        nodes,
        [value("x", ["N", "T", WIDTH]), value("h", states), value("c", states)],
        [value("speech", ["N", 1]), value("hn", states), value("cn", states)],
        weights,
        opset=11,
    )
    return Stranger(proto, {"x": rows(5, WIDTH)})


def rated() -> Stranger:
    """A voice detector: a scalar chooses the branch, a state goes in and comes out."""
    then = helper.make_graph([node("MatMul", "x w", "a")], "then", [], [value("a", None)])
    other = helper.make_graph([node("MatMul", "x w2", "a2")], "other", [], [value("a2", None)])
    nodes = [
        node("Equal", "sr rate", "fast"),
        node("If", "fast", "h", then_branch=then, else_branch=other),
        node("Add", "h state", "s"),
        node("Tanh", "s", "stateN"),
        node("MatMul", "stateN v", "m"),
        node("Sigmoid", "m", "speech"),
    ]
    weights: Arrays = {
        "w": floats(WIDTH, WIDTH),
        "w2": floats(WIDTH, WIDTH, seed=2),
        "v": floats(WIDTH, 1),
        "rate": np.array(16000, np.int64),
    }
    proto = build(
        nodes,
        [value("x", ["N", WIDTH]), value("state", [2, "N", WIDTH]), value("sr", [], INT64)],
        [value("speech", [2, "N", 1]), value("stateN", [2, "N", WIDTH])],
        weights,
    )
    return Stranger(proto, {"x": rows(WIDTH)}, ("--fix", "sr=16000"))


def scaled() -> Stranger:
    """A regression with a scaler of ``ai.onnx.ml`` in front, as skl2onnx writes it."""
    nodes = [
        node("Scaler", "x", "a", domain="ai.onnx.ml", offset=[0.1] * WIDTH, scale=[0.9] * WIDTH),
        node("MatMul", "a w", "b"),
        node("Relu", "b", "c"),
        node("MatMul", "c v", "y"),
    ]
    weights = {"w": floats(WIDTH, WIDTH), "v": floats(WIDTH, 1)}
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("y", ["N", 1])], weights, ai_onnx_ml=3)
    return Stranger(proto, {"x": rows(WIDTH)})


def forest(zipped: bool = True) -> Stranger:
    """A decision tree that names its class and gives probabilities; ``zipped``: as a sequence of maps."""
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "probabilities"],
        name="tree",
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        class_ids=[0, 1, 0, 1],
        class_nodeids=[1, 1, 2, 2],
        class_treeids=[0, 0, 0, 0],
        class_weights=[0.9, 0.1, 0.2, 0.8],
        nodes_falsenodeids=[2, 0, 0],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_nodeids=[0, 1, 2],
        nodes_treeids=[0, 0, 0],
        nodes_truenodeids=[1, 0, 0],
        nodes_values=[0.1, 0.0, 0.0],
        post_transform="NONE",
    )
    nodes, outputs = [tree], [value("label", ["N"], INT64), value("probabilities", ["N", 2])]
    if zipped:
        nodes.append(
            helper.make_node("ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        )
        kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
        outputs[1] = helper.make_value_info("maps", helper.make_sequence_type_proto(kind))
    proto = build(nodes, [value("x", ["N", 4])], outputs, {}, ai_onnx_ml=1)
    return Stranger(proto, {"x": rows(4)})


def words() -> Stranger:
    """Text goes in, and is made a number by the graph."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["text"],
            ["id"],
            name="encoder",
            domain="ai.onnx.ml",
            keys_strings=["yes", "no"],
            values_int64s=[0, 1],
            default_int64=2,
        ),
        node("Gather", "table id", "e", axis=0),
        node("MatMul", "e w", "scores"),
    ]
    weights = {"table": floats(3, WIDTH), "w": floats(WIDTH, CLASSES)}
    proto = build(
        nodes,
        [value("text", ["N"], TensorProto.STRING)],
        [value("scores", ["N", CLASSES])],
        weights,
        ai_onnx_ml=2,
    )
    return Stranger(proto, {})


def old() -> Stranger:
    """IR 3, opset 7, and every weight also an input."""
    nodes = [
        node("Conv", "x k c", "a", kernel_shape=[3, 3]),
        node("BatchNormalization", "a s t mean var", "n"),
        node("Relu", "n", "b"),
        node("GlobalAveragePool", "b", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f w o", "scores", transB=1),
    ]
    weights = {
        "k": floats(16, 3, 3, 3),
        "c": floats(16),
        "s": np.ones(16, np.float32),
        "t": np.zeros(16, np.float32),
        "mean": np.zeros(16, np.float32),
        "var": np.ones(16, np.float32),
        "w": floats(CLASSES, 16),
        "o": floats(CLASSES),
    }
    inputs = [value("x", [1, 3, SIDE, SIDE])]
    inputs += [value(name, list(array.shape)) for name, array in weights.items()]
    proto = build(nodes, inputs, [value("scores", [1, CLASSES])], weights, opset=7, ir=3)
    return Stranger(proto, {"x": rows(3, SIDE, SIDE)})


def batched() -> Stranger:
    """A batch of four and no other."""
    proto = builders.mlp(batch=4)
    return Stranger(proto, {"x": rows(48)})


def half() -> Stranger:
    """Weights and arithmetic in FP16, inputs and outputs in FP32."""
    nodes = [
        node("Cast", "x", "x16", to=TensorProto.FLOAT16),
        node("MatMul", "x16 w", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b v", "c"),
        node("Cast", "c", "scores", to=FLOAT),
    ]
    weights = {"w": floats(WIDTH, 2 * WIDTH).astype(np.float16), "v": floats(2 * WIDTH, CLASSES).astype(np.float16)}
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", CLASSES])], weights)
    return Stranger(proto, {"x": rows(WIDTH)})


def quantized() -> Stranger:
    """Weights as integers already, activations quantized while running: onnxruntime's dynamic form."""
    weight = floats(WIDTH, 2 * WIDTH)
    scale = np.float32(np.abs(weight).max() / 127)
    nodes = [
        node("DynamicQuantizeLinear", "x", "xq xs xz"),
        node("MatMulInteger", "xq wq xz", "ai"),
        node("Cast", "ai", "af", to=FLOAT),
        node("Mul", "xs ws", "s"),
        node("Mul", "af s", "a"),
        node("Relu", "a", "scores"),
    ]
    weights = {"wq": np.rint(weight / scale).astype(np.int8), "ws": np.asarray(scale)}
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", 2 * WIDTH])], weights)
    return Stranger(proto, {"x": rows(WIDTH)})


def qdq() -> Stranger:
    """Integers in QDQ form already."""
    weight = floats(WIDTH, WIDTH)
    scale = np.float32(np.abs(weight).max() / 127)
    nodes = [
        node("QuantizeLinear", "x xs xz", "q"),
        node("DequantizeLinear", "q xs xz", "xd"),
        node("DequantizeLinear", "wq ws wz", "w"),
        node("MatMul", "xd w", "scores"),
    ]
    weights = {
        "xs": np.asarray(np.float32(0.03)),
        "xz": np.array(128, np.uint8),
        "wq": np.rint(weight / scale).astype(np.int8),
        "ws": np.asarray(scale),
        "wz": np.array(0, np.int8),
    }
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", WIDTH])], weights)
    return Stranger(proto, {"x": rows(WIDTH)})


def tied() -> Stranger:
    """A table that words are looked up in, and that scores them at the end."""
    nodes = [
        node("Gather", "table ids", "e"),
        node("MatMul", "e w", "h"),
        node("Relu", "h", "r"),
        node("Transpose", "table", "across", perm=[1, 0]),
        node("MatMul", "r across", "logits"),
    ]
    weights = {"table": floats(200, WIDTH), "w": floats(WIDTH, WIDTH)}
    proto = build(nodes, [value("ids", ["N", "T"], INT64)], [value("logits", ["N", "T", 200])], weights)
    return Stranger(proto, {"ids": np.random.default_rng(3).integers(0, 200, (SAMPLES, 7))})


def function() -> Stranger:
    """A block as a function of the model's own, as torch's newer exporter writes them."""
    body = helper.make_function(
        "local",
        "Block",
        ["a", "w"],
        ["c"],
        [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("Relu", ["b"], ["c"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [node("Block", "x w", "h", domain="local"), node("MatMul", "h v", "scores")]
    weights = {"w": floats(WIDTH, WIDTH), "v": floats(WIDTH, CLASSES)}
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("scores", ["N", CLASSES])], weights, local=1)
    proto.functions.append(body)
    return Stranger(proto, {"x": rows(WIDTH)})


def scalar() -> Stranger:
    """One number comes out, for the whole batch, without any dimension."""
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("ReduceMean", "r", "y", keepdims=0)]
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("y", [])], {"w": floats(WIDTH, WIDTH)})
    return Stranger(proto, {"x": rows(WIDTH)})


def unknown_rank() -> Stranger:
    """The output's shape is not in the file at all."""
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "y")]
    proto = build(nodes, [value("x", ["N", WIDTH])], [value("y", None)], {"w": floats(WIDTH, WIDTH)})
    return Stranger(proto, {"x": rows(WIDTH)})


STRANGERS: Mapping[str, Callable[[], Stranger]] = {
    "loop": loop,
    "branch": branch,
    "contrib": contrib,
    "sparse": sparse,
    "resize": resize,
    "detector": detector,
    "suppressed": suppressed,
    "wide bias": wide_bias,
    "view": view,
    "recurrent": recurrent,
    "rated": rated,
    "forest": forest,
    "batched": batched,
    "unknown rank": unknown_rank,
    "scaled": scaled,
    "old": old,
    "half": half,
    "quantized": quantized,
    "qdq": qdq,
    "tied": tied,
    "function": function,
    "scalar": scalar,
}
