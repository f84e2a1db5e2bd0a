"""Random graphs over a batch: operators that keep rows apart, operators that mix them, shapes computed on the way."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgemodel_server.model.ort import onnxruntime
from edgemodel_server.protocol.datatypes import Array

ROWS = 3
"""Of the batch for which operators are tried while a graph grows. Constants have such sizes, too: what fits by chance
must not pass."""
SHAPES: Mapping[str, tuple[int, ...]] = {"x": (4,), "y": (2, 3), "t": (3,)}
"""One row of each input; ``t`` is of whole numbers from 0 to 2."""

Feed = dict[str, Array]


def feed(rows: int, seed: int) -> Feed:
    """Inputs of so many rows; some are much larger than others: a scale of the batch is not a row's."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.integers(-1, 3, size=rows)
    return {
        "x": (random.standard_normal((rows, 4)) * scale[:, None]).astype(np.float32),
        "y": (random.standard_normal((rows, 2, 3)) * scale[:, None, None]).astype(np.float32),
        "t": random.integers(0, 3, (rows, 3)),
    }


def session(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Grower:
    """A graph that grows by operators that run; each tensor is known by its value for a batch of ``ROWS``."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.values: dict[str, Array] = dict(feed(ROWS, 1))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype=dtype)
        return name

    def floats(self, *shape: int) -> str:
        random = np.random.default_rng(self.random.randrange(2**32))
        return self.constant(random.standard_normal(shape), np.float32)

    def some(self, kind: str = "f", rank: int | None = None) -> str:
        """A tensor of real (f) or whole (i) numbers, preferably a new one."""
        names = [name for name, value in self.values.items() if value.dtype.kind == kind and rank in (None, value.ndim)]
        if not names:
            raise LookupError
        return self.random.choice(names[-4:] if self.random.random() < 0.7 else names)

    def axis(self, name: str) -> int:
        rank = self.values[name].ndim
        if not rank:
            raise LookupError
        return self.random.randrange(-rank, rank)

    def add(self, operator: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Append an operator; raises what ONNX Runtime does if it cannot run."""
        number = len(self.nodes)
        names = [f"{operator.lower()}{number}_{index}" for index in range(outputs)]
        node = helper.make_node(operator, inputs, names, **attributes)
        known = {name: self.values.get(name, self.constants.get(name)) for name in inputs}
        single = _model([node], known, {}, names)
        results = session(single).run(names, known)
        if any(value.size > 5000 for value in results):
            raise LookupError
        self.nodes.append(node)
        self.values.update(zip(names, map(np.asarray, results), strict=True))
        return names

    def grow(self, steps: Sequence[Callable[["Grower"], None]], count: int) -> None:
        """Add ``count`` of ``steps``; those that do not fit are left out again."""
        for _ in range(count):
            before, known = len(self.nodes), set(self.values)
            try:
                self.random.choice(steps)(self)
            except Exception:  # ONNX Runtime's exceptions have no common base class
                del self.nodes[before:]
                for name in set(self.values) - known:
                    del self.values[name]

    def model(self) -> onnx.ModelProto | None:
        """The graph with one output or two, preferably those that have ``ROWS`` rows; None where there are none."""
        made = [name for node in self.nodes for name in node.output if name in self.values]
        fitting = [name for name in made if self.values[name].shape[:1] == (ROWS,)]
        if not fitting:
            return None
        outputs = list(dict.fromkeys([fitting[-1], self.random.choice(fitting)]))
        inputs = {name: self.values[name] for name in SHAPES}
        return _model(self._needed(outputs), inputs, self.constants, outputs, opened=True)

    def _needed(self, outputs: Sequence[str]) -> list[onnx.NodeProto]:
        """The nodes that ``outputs`` follow from."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        return kept[::-1]


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    constants: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    opened: bool = False,
) -> onnx.ModelProto:
    def info(name: str, value: Array) -> onnx.ValueInfoProto:
        shape: list[int | str] = list(value.shape)
        if opened:
            shape[0] = "n"
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)

    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(
        list(nodes),
        "random",
        [info(name, value) for name, value in inputs.items()],
        results,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


# What grows: each takes tensors at random and may fail.


def unary(g: Grower) -> None:
    g.add(g.random.choice(["Relu", "Tanh", "Neg", "Sigmoid", "Abs", "Identity", "Erf"]), [g.some()])


def with_constant(g: Grower) -> None:
    name = g.some()
    shape = list(g.values[name].shape)
    for axis in range(len(shape)):
        if axis == 0 or g.random.random() < 0.5:
            shape[axis] = 1
    g.add(
        g.random.choice(["Add", "Mul", "Sub", "Max"]),
        g.random.sample([name, g.floats(*shape[g.random.randrange(2) :])], 2),
    )


def with_any_constant(g: Grower) -> None:
    name = g.some()
    shape = [g.random.choice([1, size, size, ROWS]) for size in g.values[name].shape]
    g.add(g.random.choice(["Add", "Mul"]), [name, g.floats(*shape[g.random.randrange(len(shape) + 1) :])])


def binary(g: Grower) -> None:
    g.add(g.random.choice(["Add", "Mul", "Sub", "Div", "Min", "Pow"]), [g.some(), g.some()])


def where(g: Grower) -> None:
    (condition,) = g.add("Greater", [g.some(), g.some()])
    g.add("Where", [condition, g.some(), g.some()])


def linear(g: Grower) -> None:
    name = g.some()
    g.add("MatMul", [name, g.floats(g.values[name].shape[-1], g.random.randint(1, 4))])


def product(g: Grower) -> None:
    g.add("MatMul", [g.some(), g.some()])


def gemm(g: Grower) -> None:
    name = g.some(rank=2)
    flipped = g.random.randrange(2)
    size = g.values[name].shape[1 - flipped]
    bias = g.floats(*g.random.choice([(1,), (2,), (1, 2), (3, 2), (3, 1)]))
    g.add("Gemm", [name, g.floats(size, 2), bias], transA=flipped)


def transpose(g: Grower) -> None:
    name = g.some(g.random.choice("ffi"))
    order = list(range(g.values[name].ndim))
    g.random.shuffle(order)
    g.add("Transpose", [name], perm=order)


def transpose_behind(g: Grower) -> None:
    name = g.some()
    order = list(range(1, g.values[name].ndim))
    g.random.shuffle(order)
    g.add("Transpose", [name], perm=[0, *order])


def reshape(g: Grower) -> None:
    name = g.some(g.random.choice("ffi"))
    size = g.values[name].size
    divisors = [d for d in range(1, 13) if size % d == 0]
    one = g.random.choice(divisors)
    target = g.random.choice([[-1, one], [one, -1], [0, -1], [-1], [-1, 1, one], [one, 0, -1], [0, one, -1], [-1, 0]])
    g.add("Reshape", [name, g.constant(target)])


def reshape_by_shape(g: Grower) -> None:
    """As exporters do: the batch's size is asked for, and the rest is known or asked for, too."""
    name, other = g.some(), g.some()
    (shape,) = g.add("Shape", [other])
    rank = g.values[other].ndim
    (size,) = g.add("Gather", [shape, g.constant([g.random.choice([0, 0, rank - 1])])])
    if g.random.random() < 0.3:
        (size,) = g.add(g.random.choice(["Mul", "Div", "Add"]), [size, g.constant([g.random.randint(1, 3)])])
    rest = g.constant(g.random.choice([[-1], [-1], [2, -1], [-1, 3], [4], [-1, 1]]))
    (target,) = g.add("Concat", g.random.choice([[size, rest], [size, rest], [rest, size]]), axis=0)
    g.add("Reshape", [name, target])


def flatten(g: Grower) -> None:
    name = g.some()
    g.add("Flatten", [name], axis=g.random.randint(0, g.values[name].ndim))


def unsqueeze(g: Grower) -> None:
    name = g.some(g.random.choice("ffi"))
    g.add("Unsqueeze", [name, g.constant([g.random.randint(0, g.values[name].ndim)])])


def squeeze(g: Grower) -> None:
    name = g.some(g.random.choice("ffi"))
    ones = [axis for axis, size in enumerate(g.values[name].shape) if size == 1]
    g.add("Squeeze", [name] if g.random.random() < 0.3 else [name, g.constant([g.random.choice(ones)])])


def reduce(g: Grower) -> None:
    name = g.some()
    operator = g.random.choice(["ReduceSum", "ReduceMean", "ReduceMax"])
    axes = [g.axis(name)]
    keep = g.random.randrange(2)
    if operator == "ReduceSum":
        g.add(operator, [name, g.constant(axes)], keepdims=keep)
    else:
        g.add(operator, [name], axes=axes, keepdims=keep)


def softmax(g: Grower) -> None:
    name = g.some()
    g.add(g.random.choice(["Softmax", "LogSoftmax", "Hardmax"]), [name], axis=g.axis(name))


def normalize(g: Grower) -> None:
    name = g.some()
    axis = g.axis(name)
    g.add("LayerNormalization", [name, g.floats(*g.values[name].shape[axis:])], axis=axis)


def concat(g: Grower) -> None:
    name = g.some()
    shape = g.values[name].shape
    alike = [other for other, value in g.values.items() if value.shape[:1] == shape[:1] and value.ndim == len(shape)]
    g.add("Concat", [name, g.random.choice(alike)], axis=g.axis(name))


def concat_constant(g: Grower) -> None:
    name = g.some()
    shape = list(g.values[name].shape)
    axis = g.axis(name)
    shape[axis] = g.random.randint(1, 2)
    g.add("Concat", [name, g.floats(*shape)], axis=axis)


def split(g: Grower) -> None:
    name = g.some()
    axis = g.axis(name)
    size = g.values[name].shape[axis]
    first = g.random.randint(1, size - 1)
    g.add("Split", [name, g.constant([first, size - first])], 2, axis=axis)


def halves(g: Grower) -> None:
    """Two batches one after the other, computed together and taken apart again, as siamese networks do."""
    name = g.some()
    (both,) = g.add("Concat", [name, g.add("Neg", [name])[0]], axis=0)
    (both,) = g.add("Tanh", [both])
    g.add("Split", [both], 2, axis=0)


def cut(g: Grower) -> None:
    name = g.some()
    axis = g.axis(name)
    ends = [g.random.choice([0, 0, 1]), g.random.choice([1, 2, 3, -1, 2**31, 10**9])]
    step = g.random.choice([1, 1, 1, 2, -1])
    if step < 0:
        ends = [-1, -(2**31)]
    g.add("Slice", [name, *(g.constant([item]) for item in (*ends, axis, step))])


def cut_by_shape(g: Grower) -> None:
    name, other = g.some(), g.some()
    (shape,) = g.add("Shape", [other])
    (end,) = g.add("Gather", [shape, g.constant([g.random.randrange(g.values[other].ndim)])])
    table = g.floats(*g.random.choice([(4, 2), (1, 4), (6, 3)])) if g.random.random() < 0.5 else name
    axis = g.random.randrange(2)
    (part,) = g.add("Slice", [table, g.constant([0]), end, g.constant([axis])])
    g.add("Add", [name, part])


def look_up(g: Grower) -> None:
    g.add("Gather", [g.floats(3, *g.random.choice([(), (2,), (1, 2)])), g.some("i")], axis=0)


def pick(g: Grower) -> None:
    name = g.some()
    indices = g.constant(g.random.choice([0, [0], [0, 1], [[1, 0]], -1]))
    g.add("Gather", [name, indices], axis=g.axis(name))


def pick_by_rows(g: Grower) -> None:
    name = g.some()
    g.add(g.random.choice(["Gather", "GatherElements"]), [name, g.some("i")], axis=g.axis(name))


def pick_own(g: Grower) -> None:
    """An entry of each row by the row's own number, as classifiers over the last token do."""
    name, number = g.some(), g.some("i")
    (shape,) = g.add("Shape", [g.some()])
    (size,) = g.add("Gather", [shape, g.constant(0)])
    (count,) = g.add("Range", [g.constant(0), size, g.constant(g.random.choice([1, 1, 1, 2]))])
    (column,) = g.add("Unsqueeze", [count, g.constant([1])])
    (one,) = g.add("Slice", [number, g.constant([0]), g.constant([1]), g.constant([1])])
    parts = [column, one] if g.random.random() < 0.7 else [one, column]
    (places,) = g.add("Concat", parts, axis=1)
    g.add("GatherND", [name, places], batch_dims=g.random.choice([0, 0, 1]))


def gather_nd(g: Grower) -> None:
    g.add("GatherND", [g.some(), g.some("i")], batch_dims=g.random.randrange(3))


def best(g: Grower) -> None:
    name = g.some()
    g.add(g.random.choice(["ArgMax", "ArgMin"]), [name], axis=g.axis(name), keepdims=g.random.randrange(2))


def top(g: Grower) -> None:
    name = g.some()
    g.add("TopK", [name, g.constant([1])], 2, axis=g.axis(name))


def running(g: Grower) -> None:
    name = g.some()
    g.add("CumSum", [name, g.constant(g.axis(name))])


def expand(g: Grower) -> None:
    name = g.some(g.random.choice("ffi"))
    sizes = [g.random.choice([1, size]) for size in g.values[name].shape]
    g.add("Expand", [name, g.constant([*([2] if g.random.random() < 0.3 else []), *sizes])])


def expand_by_shape(g: Grower) -> None:
    (shape,) = g.add("Shape", [g.some()])
    name = g.some() if g.random.random() < 0.5 else g.floats(*g.random.choice([(1,), (1, 1), (1, 4), (3, 1), (2,)]))
    g.add("Expand", [name, shape])


def ones_by_shape(g: Grower) -> None:
    name = g.some()
    (shape,) = g.add("Shape", [name])
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    (filled,) = g.add("ConstantOfShape", [shape], value=value)
    g.add("Add", [name, filled])


def count_rows(g: Grower) -> None:
    """A computation with the number of rows, as a mean over the batch needs."""
    name = g.some()
    (shape,) = g.add("Shape", [name])
    (size,) = g.add("Gather", [shape, g.constant([g.random.choice([0, 0, -1])])])
    (number,) = g.add("Cast", [size], to=TensorProto.FLOAT)
    g.add(g.random.choice(["Div", "Mul"]), [name, number])


def tile(g: Grower) -> None:
    name = g.some()
    g.add("Tile", [name, g.constant([g.random.choice([1, 1, 2]) for _ in g.values[name].shape])])


def pad(g: Grower) -> None:
    name = g.some()
    rank = g.values[name].ndim
    g.add("Pad", [name, g.constant([g.random.choice([0, 0, 0, 1]) for _ in range(2 * rank)])])


def convolve(g: Grower) -> None:
    name = g.some(rank=3)
    g.add(
        "Conv", [name, g.floats(2, g.values[name].shape[1], g.random.randint(1, 2))], pads=[g.random.randrange(2)] * 2
    )


def pool(g: Grower) -> None:
    name = g.some(rank=3)
    g.add(g.random.choice(["MaxPool", "AveragePool"]), [name], kernel_shape=[2], strides=[g.random.randint(1, 2)])


def whole_pool(g: Grower) -> None:
    g.add("GlobalAveragePool", [g.some(rank=3)])


def norm_of_channels(g: Grower) -> None:
    name = g.some(rank=3)
    count = g.values[name].shape[1]
    g.add("InstanceNormalization", [name, g.floats(count), g.floats(count)])


def batch_norm(g: Grower) -> None:
    name = g.some()
    count = g.values[name].shape[1]
    ones = g.constant(np.ones(count), np.float32)
    g.add("BatchNormalization", [name, g.floats(count), g.floats(count), g.floats(count), ones])


def recurrent(g: Grower) -> None:
    name = g.some(rank=3)
    size = g.values[name].shape[2]
    g.add("GRU", [name, g.floats(1, 6, size), g.floats(1, 6, 2)], 2, hidden_size=2)


def einsum(g: Grower) -> None:
    equation = g.random.choice(
        ["ij,ij->ij", "ij,ij->i", "ij,kj->ik", "ij,jk->ik", "ijk,ijl->ikl", "ijk,ij->ik", "ij->ji"]
    )
    g.add("Einsum", [g.some() for _ in equation.split("->")[0].split(",")], equation=equation)


def quantize_while_running(g: Grower) -> None:
    q, scale, zero = g.add("DynamicQuantizeLinear", [g.some()], 3)
    g.add("DequantizeLinear", [q, scale, zero])


def quantize(g: Grower) -> None:
    name = g.some()
    axis = g.axis(name)
    size = g.random.choice([(), (g.values[name].shape[axis],)])
    scale = g.constant(np.full(size, 0.1), np.float32)
    (q,) = g.add("QuantizeLinear", [name, scale], axis=axis)
    g.add("DequantizeLinear", [q, scale], axis=axis)


def one_hot(g: Grower) -> None:
    g.add("OneHot", [g.some("i"), g.constant(3), g.constant([0, 1], np.float32)], axis=g.random.choice([-1, 0, 1]))


def triangle(g: Grower) -> None:
    g.add("Trilu", [g.some()])


def resize(g: Grower) -> None:
    name = g.some()
    scales = [g.random.choice([1.0, 1.0, 2.0]) for _ in g.values[name].shape]
    g.add("Resize", [name, "", g.constant(scales, np.float32)], mode="nearest")


def scatter(g: Grower) -> None:
    data, indices = g.some(rank=2), g.some("i", 2)
    updates = g.some(rank=2)
    g.add("ScatterElements", [data, indices, updates], axis=g.axis(data))


def reverse(g: Grower) -> None:
    name, lengths = g.some(), g.some("i", 1)
    g.add("ReverseSequence", [name, lengths], batch_axis=g.random.randrange(2), time_axis=g.random.randrange(2))


SAFE: tuple[Callable[[Grower], None], ...] = (
    unary,
    with_constant,
    linear,
    transpose_behind,
    halves,
    ones_by_shape,
    whole_pool,
    norm_of_channels,
    look_up,
)
"""None of these can mix rows, as long as only these grow."""

ALL: tuple[Callable[[Grower], None], ...] = (
    *SAFE,
    *(with_any_constant, binary, where, product, gemm, transpose, reshape, reshape_by_shape, flatten, unsqueeze),
    *(squeeze, reduce, softmax, normalize, concat, concat_constant, split, cut, cut_by_shape, pick, pick_by_rows),
    *(pick_own, gather_nd, best, top, running, expand, expand_by_shape, count_rows, tile, pad, convolve, pool),
    *(batch_norm, recurrent, einsum, quantize_while_running, quantize, one_hot, triangle, resize, scatter, reverse),
)
