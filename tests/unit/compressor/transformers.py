"""A transformer's encoder layer as torch's exporter writes it, with random weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.unit.compressor import builders

HIDDEN, HEADS, LENGTH, VOCABULARY = 64, 4, 8, 40


def encoder(computed_shapes: bool = False) -> onnx.ModelProto:
    """Embedding, attention with residual and norm, feed-forward with residual and norm: ``tokens`` to ``hidden``.

    With ``computed_shapes`` heads are split by a shape that is computed from the batch, as torch's older exporter does.
    """
    rng = np.random.default_rng(11)
    weights: dict[str, builders.Floats] = {"table": rng.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32)}
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["x"], name="embed")]

    def linear(source: str, name: str, inputs: int = HIDDEN, outputs: int = HIDDEN) -> str:
        weights[f"{name}.w"] = (rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
        weights[f"{name}.b"] = rng.normal(scale=0.1, size=outputs).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [source, f"{name}.w"], [f"{name}.product"], name=f"{name}_matmul"))
        nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.b"], [f"{name}.sum"], name=f"{name}_add"))
        return f"{name}.sum"

    def heads(source: str, name: str, perm: list[int]) -> str:
        nodes.append(helper.make_node("Reshape", [source, "split"], [f"{name}.heads"], name=f"{name}_reshape"))
        nodes.append(
            helper.make_node("Transpose", [f"{name}.heads"], [f"{name}.t"], perm=perm, name=f"{name}_transpose")
        )
        return f"{name}.t"

    def residual(source: str, name: str, output: str) -> str:
        weights[f"{name}.scale"], weights[f"{name}.shift"] = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
        nodes.append(
            helper.make_node("Add", ["normed" if name == "n2" else "x0", source], [f"{name}.r"], name=f"{name}_r")
        )
        ends = [f"{name}.r", f"{name}.scale", f"{name}.shift"]
        nodes.append(helper.make_node("LayerNormalization", ends, [output], axis=-1, epsilon=1e-5, name=name))
        return output

    weights["n0.scale"], weights["n0.shift"] = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    nodes.append(helper.make_node("LayerNormalization", ["x", "n0.scale", "n0.shift"], ["x0"], axis=-1, name="n0"))
    if computed_shapes:
        nodes += [
            helper.make_node("Shape", ["x0"], ["shape"], name="shape"),
            helper.make_node("Slice", ["shape", "first", "second"], ["batch"], name="batch"),
            helper.make_node("Concat", ["batch", "length", "heads", "width"], ["split"], axis=0, name="split"),
            helper.make_node("Concat", ["batch", "length", "hidden_size"], ["join"], axis=0, name="join"),
        ]
    query = heads(linear("x0", "q"), "q", [0, 2, 1, 3])
    key = linear("x0", "k")
    value = heads(linear("x0", "v"), "v", [0, 2, 1, 3])
    nodes += [
        helper.make_node("MatMul", [query, heads(key, "k", [0, 2, 3, 1])], ["scores"], name="scores"),
        helper.make_node("Div", ["scores", "root"], ["scaled"], name="scale"),
        helper.make_node("Softmax", ["scaled"], ["shares"], axis=-1, name="softmax"),
        helper.make_node("MatMul", ["shares", value], ["mixed"], name="mix"),
        helper.make_node("Transpose", ["mixed"], ["mixed.t"], perm=[0, 2, 1, 3], name="mix_transpose"),
        helper.make_node("Reshape", ["mixed.t", "join"], ["joined"], name="mix_reshape"),
    ]
    normed = residual(linear("joined", "o"), "n1", "normed")
    nodes.append(helper.make_node("Gelu", [linear(normed, "f1", HIDDEN, 4 * HIDDEN)], ["active"], name="gelu"))
    residual(linear("active", "f2", 4 * HIDDEN, HIDDEN), "n2", "hidden")
    model = builders.model(
        nodes,
        inputs=[helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", LENGTH])],
        outputs=[helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["batch", LENGTH, HIDDEN])],
        weights=weights,
        opsets=[helper.make_opsetid("", 20)],
    )
    shapes = {"split": [-1, LENGTH, HEADS, HIDDEN // HEADS], "join": [-1, LENGTH, HIDDEN]}
    if computed_shapes:
        shapes = {"first": [0], "second": [1], "length": [LENGTH], "heads": [HEADS], "width": [HIDDEN // HEADS]}
        shapes["hidden_size"] = [HIDDEN]
    model.graph.initializer.extend(
        [
            *(numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()),
            numpy_helper.from_array(np.array(np.sqrt(HIDDEN // HEADS), np.float32), "root"),
        ]
    )
    return model


def tokens(batch: int = 1, seed: int = 0) -> dict[str, builders.Ints]:
    """Random tokens for ``encoder``."""
    return {"tokens": np.random.default_rng(seed).integers(0, VOCABULARY, size=(batch, LENGTH))}
