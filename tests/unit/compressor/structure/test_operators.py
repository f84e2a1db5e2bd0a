"""Operator by operator: what is coupled, what is kept, and that masking and removing agree.

Each case is a small graph in ONNX's text form. Between its first and its last layer lies what the case is about.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from edgemodel_compressor.graph.structure import analyse, mask, remove, select
from tests.unit.compressor.structure.running import chance, run

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """Nodes in text; float weights by shape, drawn at random; whole numbers by value."""

    nodes: str
    weights: dict[str, Shape]
    numbers: dict[str, list[int]] = field(default_factory=dict)
    input: Shape = (2, 3, 6, 6)
    output: Shape = (2, 5, 6, 6)
    opset: int = 17

    def proto(self) -> onnx.ModelProto:
        x, y = (", ".join(map(str, shape)) for shape in (self.input, self.output))
        model: onnx.ModelProto = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["": {self.opset}]> net (float[{x}] x) => (float[{y}] y) {{ {self.nodes} }}'
        )
        rng = np.random.default_rng(0)
        for name, shape in self.weights.items():
            # Positive, as variances and divisors must be.
            values = rng.uniform(0.2, 1.0, shape).astype(np.float32) * (
                1 if name.startswith("v") else rng.choice([-1, 1])
            )
            model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        for name, numbers in self.numbers.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), name))
        onnx.checker.check_model(model, full_check=True)
        return model

    def feed(self) -> dict[str, np.ndarray]:
        return {"x": np.random.default_rng(1).normal(size=self.input).astype(np.float32)}


def between(nodes: str, weights: dict[str, Shape] | None = None, **more: object) -> Net:
    """A 1×1 convolution from 3 to 8 channels named a, ``nodes`` from a to b, and one from 8 channels to 5."""
    return Net(
        f"a = Conv(x, first) {nodes} y = Conv(b, last)",
        {"first": (8, 3, 1, 1), **(weights or {}), "last": (5, 8, 1, 1)},
        **more,  # type: ignore[arg-type]
    )


def dense(nodes: str, weights: dict[str, Shape] | None = None, **more: object) -> Net:
    """A matrix from 6 features to 8 named a, ``nodes`` from a to b, and one from 8 to 5."""
    arguments: dict[str, object] = {"input": (2, 4, 6), "output": (2, 4, 5), **more}
    return Net(
        f"a = MatMul(x, first) {nodes} y = MatMul(b, last)",
        {"first": (6, 8), **(weights or {}), "last": (8, 5)},
        **arguments,  # type: ignore[arg-type]
    )


PRUNED: dict[str, tuple[Net, int]] = {
    "activations": (between("r = Relu(a) s = Sigmoid(r) t = LeakyRelu(s) u = Exp(t) b = HardSwish(u)"), 8),
    "identity, cast, dropout": (between("i = Identity(a) c = Cast<to=1>(i) b = Dropout(c)"), 8),
    "residual add with batch norm": (
        between(
            "c = Conv(a, k) n = BatchNormalization(c, s, h, m, v) d = Add(n, a) b = Relu(d)",
            {"k": (8, 8, 1, 1), "s": (8,), "h": (8,), "m": (8,), "v": (8,)},
        ),
        8,
    ),
    "instance norm and a slope per channel": (
        between("n = InstanceNormalization(a, s, h) b = PRelu(n, p)", {"s": (8,), "h": (8,), "p": (8, 1, 1)}),
        8,
    ),
    "group norm, as torch writes it: whole groups of channels": (
        between(
            "r = Reshape(a, t) n = InstanceNormalization(r, s, h) q = Reshape(n, u) m = Mul(q, w) b = Add(m, o)",
            {"s": (4,), "h": (4,), "w": (8, 1, 1), "o": (8, 1, 1)},
            numbers={"t": [0, 4, -1], "u": [2, 8, 6, 6]},
        ),
        4,
    ),
    "group norm as one operator": (
        between("b = GroupNormalization<num_groups=2>(a, s, h)", {"s": (8,), "h": (8,)}, opset=21),
        2,
    ),
    "pixel shuffle, as torch writes it": (
        Net(
            "a = Conv(x, first) r = DepthToSpace<blocksize=2, mode=\"CRD\">(a) y = Conv(r, last)",
            {"first": (32, 3, 1, 1), "last": (5, 8, 1, 1)},
            output=(2, 5, 12, 12),
        ),
        8,
    ),
    "depth to space, as TensorFlow writes it, and back": (
        Net(
            "a = Conv(x, first) d = DepthToSpace<blocksize=2>(a) r = Relu(d) s = SpaceToDepth<blocksize=2>(r) "
            "y = Conv(s, last)",
            {"first": (32, 3, 1, 1), "last": (5, 32, 1, 1)},
        ),
        8,
    ),
    "convolutions over time": (
        Net(
            "a = Conv<pads=[1, 1]>(x, first) n = BatchNormalization(a, s, h, m, v) r = Relu(n) "
            "d = Conv<group=8, pads=[2, 2], dilations=[2]>(r, k) b = Add(d, a) y = Conv(b, last)",
            {"first": (8, 3, 3), "s": (8,), "h": (8,), "m": (8,), "v": (8,), "k": (8, 1, 3), "last": (5, 8, 1)},
            input=(2, 3, 9),
            output=(2, 5, 9),
        ),
        8,
    ),
    "the state of an LSTM": (
        Net(
            "s, h, c = LSTM<hidden_size=8>(x, w, r, b) a = Squeeze(h, n) y = MatMul(a, last)",
            {"w": (1, 32, 6), "r": (1, 32, 8), "b": (1, 64), "last": (8, 5)},
            numbers={"n": [0]},
            input=(4, 2, 6),
            output=(2, 5),
        ),
        8,
    ),
    "the states of a GRU in both directions, one above the other": (
        Net(
            "s = GRU<hidden_size=8, direction=\"bidirectional\", linear_before_reset=1>(x, w, r, b) "
            "t = Transpose<perm=[0, 2, 1, 3]>(s) u = Reshape(t, n) v = GRU<hidden_size=6>(u, k, l) "
            "f = Squeeze(v, o) y = MatMul(f, last)",
            {"w": (2, 24, 6), "r": (2, 24, 8), "b": (2, 48), "k": (1, 18, 16), "l": (1, 18, 6), "last": (6, 5)},
            numbers={"n": [0, 0, -1], "o": [1]},
            input=(4, 2, 6),
            output=(4, 2, 5),
        ),
        14,
    ),
    "depthwise convolution": (
        between("b = Conv<group=8, pads=[1, 1, 1, 1]>(a, k, c)", {"k": (8, 1, 3, 3), "c": (8,)}),
        8,
    ),
    "depthwise convolution with two outputs per channel": (
        Net(
            "a = Conv(x, first) b = Conv<group=4>(a, k) y = Conv(b, last)",
            {"first": (4, 3, 1, 1), "k": (8, 1, 1, 1), "last": (5, 8, 1, 1)},
        ),
        4,
    ),
    "grouped convolution: whole groups": (between("b = Conv<group=4>(a, k)", {"k": (8, 2, 1, 1)}), 4),
    "transposed convolution": (
        Net(
            "a = Conv(x, first) b = ConvTranspose<strides=[2, 2]>(a, k, c) y = Conv(b, last)",
            {"first": (8, 3, 1, 1), "k": (8, 6, 2, 2), "c": (6,), "last": (5, 6, 1, 1)},
            output=(2, 5, 12, 12),
        ),
        14,
    ),
    "grouped transposed convolution": (between("b = ConvTranspose<group=4>(a, k)", {"k": (8, 2, 1, 1)}), 4),
    "concat of three, one of them twice": (
        Net(
            "a = Conv(x, first) c = Conv(a, k) d = Concat<axis=1>(a, c, a) y = Conv(d, last)",
            {"first": (8, 3, 1, 1), "k": (4, 8, 1, 1), "last": (5, 20, 1, 1)},
        ),
        12,
    ),
    "squeeze and excitation": (
        between(
            "g = GlobalAveragePool(a) d = Conv(g, down) r = Relu(d) u = Conv(r, up) s = Sigmoid(u) b = Mul(a, s)",
            {"down": (4, 8, 1, 1), "up": (8, 4, 1, 1)},
        ),
        12,
    ),
    "channel shuffle": (
        between(
            "r = Reshape(a, t) p = Transpose<perm=[0, 2, 1, 3, 4]>(r) b = Reshape(p, u)",
            numbers={"t": [2, 2, 4, 6, 6], "u": [2, 8, 6, 6]},
        ),
        2,
    ),
    "padding of space": (
        between("p = Pad(a, n) b = MaxPool<kernel_shape=[3, 3]>(p)", numbers={"n": [0, 0, 1, 1] * 2}),
        8,
    ),
    "resize to sizes": (
        between("b = Resize<mode=\"nearest\">(a, , , n)", numbers={"n": [2, 8, 12, 12]}, output=(2, 5, 12, 12)),
        8,
    ),
    "expand and broadcast": (
        between("g = GlobalMaxPool(a) e = Expand(g, n) b = Add(e, a)", numbers={"n": [2, 8, 6, 6]}),
        8,
    ),
    "split in two by an input": (
        between("c, d = Split<axis=1>(a, n) b = Concat<axis=1>(d, c)", numbers={"n": [3, 5]}),
        8,
    ),
    "split in two by an attribute": (
        between("c, d = Split<axis=1, split=[3, 5]>(a) b = Concat<axis=1>(d, c)", opset=11),
        8,
    ),
    "split into equal parts": (between("c, d = Split<axis=1, num_outputs=2>(a) b = Concat<axis=1>(d, c)", opset=18), 8),
    "slices": (
        between(
            "c = Slice(a, o, p, q) d = Slice(a, p, e, q) b = Concat<axis=1>(c, d)",
            numbers={"o": [0], "p": [3], "e": [9223372036854775807], "q": [1]},
        ),
        8,
    ),
    "slices by attributes": (
        between(
            "c = Slice<axes=[1], starts=[0], ends=[3]>(a) d = Slice<axes=[1], starts=[-5], ends=[99]>(a) "
            "b = Concat<axis=1>(c, d)",
            opset=9,
        ),
        8,
    ),
    "flatten to a matrix": (
        Net(
            "a = Conv(x, first) f = Flatten(a) y = Gemm<transB=1>(f, last, c)",
            {"first": (8, 3, 1, 1), "last": (5, 288), "c": (5,)},
            output=(2, 5),
        ),
        8,
    ),
    "mean over space": (
        Net(
            "a = Conv(x, first) m = ReduceMean<axes=[2, 3], keepdims=0>(a) y = MatMul(m, last)",
            {"first": (8, 3, 1, 1), "last": (8, 5)},
            output=(2, 5),
        ),
        8,
    ),
    "bias added after a matrix": (dense("c = Add(bias, a) b = Tanh(c)", {"bias": (8,)}), 8),
    "a weight used twice": (
        dense("c = MatMul(a, k) d = Relu(c) b = MatMul(d, k)", {"k": (8, 8)}),
        8,
    ),
    "a weight used once more, transposed": (
        Net(
            "a = MatMul(x, first) r = Relu(a) t = Transpose<perm=[1, 0]>(first) y = MatMul(r, t)",
            {"first": (6, 8)},
            input=(2, 6),
            output=(2, 6),
        ),
        8,
    ),
    "a weight in a Constant node": (
        dense("k = Constant<value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}>() b = Mul(a, k)"),
        8,
    ),
    "layer norm over tokens": (
        dense(
            "t = Transpose<perm=[0, 2, 1]>(a) n = LayerNormalization(t, s) b = Transpose<perm=[0, 2, 1]>(n)",
            {"s": (4,)},
        ),
        8,
    ),
    "softmax over tokens": (dense("b = Softmax<axis=1>(a)"), 8),
    "attention as one operator, with a bias per head": (
        Net(
            "q = MatMul(x, query) k = MatMul(x, key) v = MatMul(x, value) "
            "qr = Reshape(q, parts) kr = Reshape(k, parts) vr = Reshape(v, parts) "
            "qt = Transpose<perm=[0, 2, 1, 3]>(qr) kt = Transpose<perm=[0, 2, 1, 3]>(kr) "
            "vt = Transpose<perm=[0, 2, 1, 3]>(vr) h = Attention(qt, kt, vt, bias) "
            "ht = Transpose<perm=[0, 2, 1, 3]>(h) b = Reshape(ht, whole) y = MatMul(b, last)",
            {"query": (6, 8), "key": (6, 8), "value": (6, 8), "bias": (1, 4, 3, 3), "last": (8, 5)},
            {"parts": [2, 3, 4, 2], "whole": [2, 3, 8]},
            input=(2, 3, 6),
            output=(2, 3, 5),
            opset=23,
        ),
        4,
    ),
    "attention of a single head keeps what it multiplies, not what it mixes": (
        Net(
            "q = MatMul(x, query) k = MatMul(x, key) v = MatMul(x, value) kt = Transpose<perm=[0, 2, 1]>(k) "
            "s = MatMul(q, kt) p = Softmax(s) b = MatMul(p, v) y = MatMul(b, last)",
            {"query": (6, 7), "key": (6, 7), "value": (6, 8), "last": (8, 5)},
            input=(2, 3, 6),
            output=(2, 3, 5),
        ),
        8,
    ),
    "a shape computed from the tensor itself": (
        dense("s = Shape(a) r = Reshape(a, flat) b = Reshape(r, s)", numbers={"flat": [2, 4, 8]}),
        8,
    ),
}  # fmt: skip
"""Graphs, and how many units there are to remove."""


@pytest.mark.parametrize("case", PRUNED)
def test_units_go_with_all_that_depends_on_them(case: str) -> None:
    net, units = PRUNED[case]
    proto = net.proto()
    analysis = analyse(proto)
    assert sum(group.units for group in analysis.groups) == units
    for seed in range(3):
        selection = select(analysis, chance(analysis, seed), 0.5, multiple=1)
        assert selection.removed
        smaller = remove(proto, selection)
        onnx.checker.check_model(smaller, full_check=True)
        np.testing.assert_allclose(
            run(smaller, net.feed()), run(mask(proto, selection), net.feed()), rtol=1e-4, atol=1e-4
        )


KEPT: dict[str, tuple[Net, str]] = {
    "an unknown operator": (dense("b = CumSum(a, n)", numbers={"n": [1]}), "does not know the operator CumSum"),
    "a logarithm": (dense("c = Exp(a) b = Log(c)"), "has no answer"),
    "a layer norm over it": (dense("b = LayerNormalization(a, s)", {"s": (8,)}), "LayerNormalization"),
    "a layer norm taken apart": (
        dense(
            "m = ReduceMean<axes=[-1]>(a) d = Sub(a, m) q = Mul(d, d) w = ReduceMean<axes=[-1]>(q) r = Sqrt(w) "
            "b = Div(d, r)"
        ),
        "ReduceMean",
    ),
    "a softmax over it": (dense("b = Softmax(a)"), "Softmax"),
    "an old softmax, over all that follows": (dense("b = Softmax<axis=1>(a)", opset=11), "Softmax"),
    "a division by it": (dense("c = MatMul(x, k) d = Exp(c) b = Div(a, d)", {"k": (6, 8)}), "divides by it"),
    "a division by a constant per unit": (dense("b = Div(a, v)", {"v": (8,)}), "divides by it"),
    "a root": (dense("c = Exp(a) d = Constant<value = float {0.5}>() b = Pow(c, d)"), "raises it to a power"),
    "a product without a weight": (
        Net(
            "a = MatMul(x, first) t = Transpose<perm=[0, 2, 1]>(a) y = MatMul(a, t)",
            {"first": (6, 8)},
            input=(2, 4, 6),
            output=(2, 4, 4),
        ),
        "sums over it without a weight",
    ),
    "a computation with its size": (
        dense("s = Shape(a) n = Gather(s, at) f = Cast<to=1>(n) b = Div(a, f)", numbers={"at": [2]}),
        "computes with its size",
    ),
    "padding of channels": (
        Net(
            "a = Conv(x, first) p = Pad(a, n) y = Conv(p, last)",
            {"first": (8, 3, 1, 1), "last": (5, 10, 1, 1)},
            numbers={"n": [0, 1, 0, 0] * 2},
        ),
        "pads it",
    ),
    "a look-up in it": (
        dense("b = Gather<axis=2>(a, n)", numbers={"n": [7, 6, 5, 4, 3, 2, 1, 0]}),
        "looks entries up",
    ),
    "a branch that reads it": (
        dense(
            "z = Constant<value = bool {1}>() "
            "b = If(z) <then_branch = yes () => (float[2, 4, 8] c) { c = Relu(a) }, "
            "else_branch = no () => (float[2, 4, 8] d) { d = Neg(a) }>"
        ),
        "does not know the operator If",
    ),
    "an LSTM that is given what it remembers": (
        Net(
            "o, h, c = LSTM<hidden_size=8>(x, w, r, b, , m, m) a = Squeeze(h, n) y = MatMul(a, last)",
            {"w": (1, 32, 6), "r": (1, 32, 8), "b": (1, 64), "m": (1, 2, 8), "last": (8, 5)},
            numbers={"n": [0]},
            input=(4, 2, 6),
            output=(2, 5),
        ),
        "given what it remembers",
    ),
    "the model's output": (
        Net("y = MatMul(x, first)", {"first": (6, 8)}, input=(2, 6), output=(2, 8)),
        "the model's output y",
    ),
}  # fmt: skip
"""Graphs no unit of which may go, and words of the reason."""


@pytest.mark.parametrize("case", KEPT)
def test_what_cannot_go_is_kept_with_the_reason(case: str) -> None:
    net, words = KEPT[case]
    analysis = analyse(net.proto())
    assert analysis.groups == ()
    assert any(words in reason for reason in analysis.kept.values()), analysis.kept
    assert all(reason.endswith(".") for reason in analysis.kept.values())


def test_a_weight_that_a_caller_may_replace_is_kept() -> None:
    proto = dense("b = Relu(a)").proto()
    for tensor in list(proto.graph.initializer):
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    analysis = analyse(proto)
    assert analysis.groups == ()
    assert "a caller may replace it" in analysis.kept["first"]


def test_nodes_that_shared_a_shape_get_their_own() -> None:
    """Two reshapes by one constant, of which only one shrinks."""
    net = Net(
        "a = MatMul(x, first) r = Reshape(a, n) s = Relu(r) b = Reshape(s, back) c = MatMul(b, second) "
        "d = Reshape(c, n) e = ReduceSum<axes=[2], keepdims=0>(d) y = Reshape(e, back)",
        {"first": (6, 8), "second": (8, 8)},
        numbers={"n": [2, 8, 1], "back": [2, 8]},
        input=(2, 6),
        output=(2, 8),
        opset=11,
    )
    proto = net.proto()
    analysis = analyse(proto)
    selection = select(analysis, chance(analysis, 0), 0.5, multiple=1)
    assert run(remove(proto, selection), net.feed()) == pytest.approx(run(mask(proto, selection), net.feed()), abs=1e-4)


def test_a_vector_that_layers_happen_to_share_does_not_couple_them() -> None:
    """Exporters store equal biases once."""
    net = between("c = Conv(a, k, h) d = Relu(c) b = Conv(d, l, h)", {"k": (8, 8, 1, 1), "l": (8, 8, 1, 1), "h": (8,)})
    proto = net.proto()
    analysis = analyse(proto)
    assert [group.units for group in analysis.groups] == [8, 8, 8]
    selection = select(analysis, chance(analysis, 0), 0.6, multiple=1)
    smaller = remove(proto, selection)
    np.testing.assert_allclose(run(smaller, net.feed()), run(mask(proto, selection), net.feed()), rtol=1e-4, atol=1e-4)
    assert run(mask(proto, select(analysis, chance(analysis, 0), 0.0)), net.feed()) == pytest.approx(
        run(proto, net.feed())
    )


def test_a_branch_that_nothing_reads_does_no_harm() -> None:
    analysis = analyse(dense("b = Relu(a) unused = Neg(a)").proto())
    assert [group.units for group in analysis.groups] == [8]


def test_no_section_is_emptied() -> None:
    """All channels of one half matter less than any of the other: one of them stays."""
    net, _ = PRUNED["split into equal parts"]
    proto = net.proto()
    analysis = analyse(proto)
    assert [group.units for group in analysis.groups] == [4, 4]
    scores = {group.name: np.full(group.units, float(index)) for index, group in enumerate(analysis.groups)}
    selection = select(analysis, scores, 0.5, multiple=1)
    assert sorted(map(len, selection.removed.values())) == [1, 3]
    np.testing.assert_allclose(
        run(remove(proto, selection), net.feed()), run(mask(proto, selection), net.feed()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("case", ["slices", "split in two by an input", "resize to sizes"])
def test_what_was_made_smaller_can_be_made_smaller_again(case: str) -> None:
    net, _ = PRUNED[case]
    proto = net.proto()
    for seed in range(2):
        analysis = analyse(proto)
        selection = select(analysis, chance(analysis, seed), 0.3, multiple=1)
        assert selection.removed
        masked, proto = mask(proto, selection), remove(proto, selection)
        onnx.checker.check_model(proto, full_check=True)
        np.testing.assert_allclose(run(proto, net.feed()), run(masked, net.feed()), rtol=1e-4, atol=1e-4)


def test_neither_masking_nor_removing_changes_what_it_is_given() -> None:
    proto = dense("b = Relu(a)").proto()
    before = proto.SerializeToString(deterministic=True)
    analysis = analyse(proto)
    selection = select(analysis, chance(analysis, 0), 0.5, multiple=1)
    assert mask(proto, selection).SerializeToString(deterministic=True) != before
    assert remove(proto, selection).SerializeToString(deterministic=True) != before
    assert proto.SerializeToString(deterministic=True) == before


def test_shapes_that_the_model_accepts_tell_its_dimensions_apart() -> None:
    """Height and width are open in the file, but only 6×6 pixels fit the matrix."""
    net, units = PRUNED["flatten to a matrix"]
    proto = net.proto()
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    analysis = analyse(proto, {"x": net.input})
    assert [group.units for group in analysis.groups] == [units]
    selection = select(analysis, chance(analysis, 0), 0.5, multiple=1)
    np.testing.assert_allclose(
        run(remove(proto, selection), net.feed()), run(mask(proto, selection), net.feed()), rtol=1e-4, atol=1e-4
    )
    assert analyse(proto).groups == ()
