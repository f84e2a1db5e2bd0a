"""One walk through a graph: every dimension of every tensor gets labels, operator by operator.

A weight's dimensions start with labels of their own; an operator passes the labels of its inputs on to its outputs, and
unites those that must shrink together. So a residual add unites the channels of its two sides, and a concat lays the
labels of its inputs end to end, and nothing else need be known about either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgemodel_compressor.graph.shapes import Shapes, folded_sizes
from edgemodel_compressor.graph.structure.labels import Axis, Labels
from edgemodel_compressor.graph.weights import FLOATS, constants

Axes = tuple[Axis, ...]
Size = int | Axis | None
"""An element of a tensor that holds sizes: a number of the file, the size of a labelled dimension, or not known."""


@dataclass(frozen=True)
class Cut:
    """A dimension that a Slice cuts: its bounds as the file states them, and as positions."""

    axis: int
    stated: tuple[int, int]
    actual: tuple[int, int]


class Opaque(Exception):  # noqa: N818 - not an error: the walk goes on, and leaves whole what the operator touches
    """An operator is not understood here; the message is a sentence for ``Analysis.kept``."""


class Walk:
    """What is known after the nodes so far. ``rules`` maps an operator to what it does with labels."""

    def __init__(
        self,
        proto: ModelProto,
        shapes: Shapes,
        aliases: Mapping[str, str],
        answers: Mapping[str, list[bool]] | None,
    ) -> None:
        self.labels = Labels()
        self.shapes = shapes
        self.opset = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
        self.constants = constants(proto.graph) | folded_sizes(proto)
        self.constants |= {alias: self.constants[name] for alias, name in aliases.items()}
        self.axes: dict[str, Axes] = {}
        self.sizes: dict[str, list[Size]] = {}
        self.targets: dict[str, list[Size]] = {}
        """The shape that a Reshape, an Expand or the like is told to make, by its output."""
        self.plain: set[str] = set()
        """Weights, and weights that were only moved about: where a weight is zero they are."""
        self.zeros: set[str] = set()
        """What was computed, and is zero all over."""
        self.cuts: dict[str, list[Cut]] = {}
        """What each Slice takes, by its output."""
        self.kept: dict[str, str] = {}
        self.answers = answers
        """What an earlier walk ``offered``; None on the first."""
        self._offers: dict[str, list[Axis]] = {}
        self._start(proto.graph)

    def _start(self, graph: GraphProto) -> None:
        overridable = {value.name for value in graph.input}
        for value in graph.input:
            reason = (
                f"{value.name} is also an input of the model, so that a caller may replace it."
                if value.name in self.constants
                else f"It meets the model's input {value.name}, which stays as it is."
            )
            self.fix(value.name, reason)
        for name, tensor in self.constants.items():
            if name in overridable:
                continue
            if tensor.data_type in FLOATS:
                self.axes[name] = tuple(
                    self.labels.fresh(size) if size > 1 else self.labels.fixed(size, f"{name} has a single position.")
                    for size in tensor.dims
                )
                self.plain.add(name)
                continue
            self.fix(name, f"It meets the constant {name}, which is not a weight.", tuple(tensor.dims))
            if len(tensor.dims) <= 1:
                self.sizes[name] = list(numpy_helper.to_array(tensor).reshape(-1).tolist())

    def visit(self, node: NodeProto, rules: Mapping[str, Callable[["Walk", NodeProto], None]]) -> None:
        """Give labels to the outputs of ``node``."""
        if node.output[0] in self.constants:
            return
        rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        try:
            if rule is None:
                raise Opaque(f"Pruning does not know the operator {node.op_type} ({title(node)}).")
            missing = [name for name in (*node.input, *node.output) if name and name not in self.shapes]
            if missing:
                raise Opaque(f"The shape of {missing[0]} at {title(node)} cannot be told before the model runs.")
            rule(self, node)
            for name in node.output:
                if name and tuple(map(len, self.axes.get(name, ()))) != self.shapes[name]:
                    raise Opaque(f"The shape of {name} at {title(node)} is not what its inputs say.")
        except Opaque as reason:
            self._leave(node, str(reason))
        except (IndexError, KeyError, ValueError):
            # Ranks and inputs that the operator's specification has no room for, or a later version of it.
            self._leave(node, f"Pruning does not know this form of {node.op_type} ({title(node)}).")

    def _leave(self, node: NodeProto, reason: str) -> None:
        self.kept[title(node)] = reason
        names = set(node.input) | captured(node)
        for name in sorted(names):
            for axis in self.axes.get(name, ()):
                self.labels.pin(axis, reason)
            self.pin_sizes(name, reason)
        for name in node.output:
            if name:
                self.fix(name, reason)

    def fix(self, name: str, reason: str, shape: tuple[int, ...] | None = None) -> None:
        """All dimensions of the tensor ``name`` stay."""
        shape = self.shapes.get(name, ()) if shape is None else shape
        self.axes[name] = tuple(self.labels.fixed(size, reason) for size in shape)

    def give(self, name: str, axes: Sequence[Axis]) -> None:
        """The labels of the output ``name``. A dimension of one position cannot shrink, and might be broadcast."""
        for axis in axes:
            if len(axis) == 1:
                self.labels.pin(axis, f"{name} has a single position there.")
        self.axes[name] = tuple(axes)

    def pin_sizes(self, name: str, reason: str) -> None:
        """The dimensions whose sizes the tensor ``name`` holds stay."""
        for size in self.sizes.get(name, ()):
            if isinstance(size, np.ndarray):
                self.labels.pin(size, reason)

    def integers(self, node: NodeProto, position: int) -> list[int] | None:
        """The numbers of an input that the file decides; None where the input is absent.

        Raises:
            Opaque: they are computed while the model runs.
        """
        if position >= len(node.input) or not node.input[position]:
            return None
        sizes = self.sizes.get(node.input[position], [None])
        numbers = [size for size in sizes if isinstance(size, int | float)]
        if len(numbers) != len(sizes):
            raise Opaque(f"{title(node)} takes numbers that are computed while the model runs.")
        return [int(number) for number in numbers]

    def number(self, name: str) -> NDArray[np.generic] | None:
        """The value of a constant; None for any other tensor."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def is_zero(self, name: str) -> bool:
        """Whether the tensor is known to be zero all over."""
        value = self.number(name)
        return name in self.zeros or (value is not None and not np.any(value))

    def offer(self, key: str, candidates: list[Axis]) -> int | None:
        """Which of ``candidates`` a reshape shrinks; None on the first walk, which only notes the question.

        It is the outermost of which something may go by what the first walk saw later, and this one earlier.
        """
        if len(candidates) == 1:
            return 0
        if self.answers is None:
            self._offers[key] = candidates
            return None
        able = [index for index, axis in enumerate(candidates) if self.answers[key][index] and self._free(axis)]
        return able[0] if able else 0

    def offered(self) -> dict[str, list[bool]]:
        """For each offer of this walk, of which dimensions something may go."""
        return {key: [self._free(axis) for axis in axes] for key, axes in self._offers.items()}

    def _free(self, axis: Axis) -> bool:
        return bool((self.labels.roots(axis) >= 0).any())


def title(node: NodeProto) -> str:
    """The node's name; its first output where it has none."""
    return node.name or node.output[0]


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def attributes(node: NodeProto, name: str) -> list[int] | None:
    """An attribute of several integers; None where it is absent."""
    return next((list(item.ints) for item in node.attribute if item.name == name), None)


def text(node: NodeProto, name: str, default: str) -> str:
    """A string attribute."""
    found = next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), None)
    return default if found is None else found.decode()


def captured(node: NodeProto) -> set[str]:
    """The names that the bodies of loops and branches read; their own tensors among them, which do no harm."""
    names: set[str] = set()
    for item in node.attribute:
        for body in [item.g] if item.type == AttributeProto.GRAPH else list(item.graphs):
            for inner in body.node:
                names |= set(inner.input) | captured(inner)
            names |= {output.name for output in body.output}
    return names
