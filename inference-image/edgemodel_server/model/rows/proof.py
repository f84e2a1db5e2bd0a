"""Whether rows of a batch are independent, proved from the model's graph: the batch is followed through every operator.

Requests whose rows share a run get the right answers only if no row can influence another. What a few inputs show is
no proof, so that is the only thing that permits it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgemodel_server.model.rows.graph import Graph, Node
from edgemodel_server.model.rows.rules import KNOWN_TO_MIX, RULES, STEADY
from edgemodel_server.model.rows.rules.shapes import tensor_of
from edgemodel_server.model.rows.sizes import AnySize, Size
from edgemodel_server.model.rows.tensors import Call, MixesError, Rows, Tensor, by_rows, shared
from edgemodel_server.protocol.datatypes import Array

_OWN = Rows(0)


@dataclass(frozen=True)
class Proof:
    """``reason``: why rows may influence each other, as a sentence; None: they cannot.

    That holds for inputs whose dimensions in each group of ``equal``, pairs of input and dimension, have one size, and
    of which none is empty. ``steady``: how long the model takes depends on the sizes of its inputs alone.
    """

    reason: str | None
    equal: Sequence[Sequence[tuple[str, int]]] = ()
    steady: bool = False

    @property
    def holds(self) -> bool:
        """Whether rows are independent."""
        return self.reason is None

    def rows(self, inputs: Mapping[str, Array]) -> int | None:
        """How many independent rows these inputs have, each of them as many; None where nothing is said of them."""
        if self.reason is not None:
            return None
        rows = None
        for array in inputs.values():
            if not array.size or rows not in (None, array.shape[0]):
                return None
            rows = array.shape[0]
        for group in self.equal:
            if len({inputs[name].shape[axis] for name, axis in group}) != 1:
                return None
        return rows


def prove(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Proof:
    """Follow the batch, the first dimension of every input, through ``graph``. ``shapes`` are those of the inputs as
    they are served: -1 where a size is open."""
    steady = all((node.domain, node.operator) in STEADY and not node.subgraphs for node in graph.nodes)
    reason = _mixing(graph, shapes)
    return Proof(reason, _equal(graph, shapes) if reason is None else (), steady or reason is None)


def _mixing(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> str | None:
    """Why rows may influence each other; None: they cannot."""
    tensors: dict[str, Tensor] = {name: tensor_of(constant) for name, constant in graph.constants.items()}
    for name, shape in shapes.items():
        if not shape or shape[0] != -1:
            return f"input {name!r} does not have the batch as its first dimension, open to any size"
        tensors[name] = by_rows(_sizes(graph, name, shape), _OWN)
    for node in graph.nodes:
        for name, tensor in zip(node.outputs, _results(node, graph.opsets, tensors), strict=False):
            tensors[name] = tensor
    for name in graph.outputs:
        reason = _fault(name, tensors.get(name))
        if reason is not None:
            return reason
    return None


def _sizes(graph: Graph, name: str, shape: Sequence[int]) -> list[AnySize]:
    return [size if size >= 0 else Size.symbol(_label(graph, name, axis), least=1) for axis, size in enumerate(shape)]


def _label(graph: Graph, name: str, axis: int) -> str:
    """What an open dimension of an input is called: by the name that the file gives it, or its place."""
    declared = graph.inputs.get(name, ())
    given = declared[axis] if axis < len(declared) else None
    return f"={given}" if isinstance(given, str) else f"{name}[{axis}]"


def _equal(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> list[list[tuple[str, int]]]:
    """Dimensions that were taken to be of one size because the file gives them one name."""
    groups: dict[str, list[tuple[str, int]]] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            if axis and size < 0:
                groups.setdefault(_label(graph, name, axis), []).append((name, axis))
    return [group for group in groups.values() if len(group) > 1]


def _results(node: Node, opsets: Mapping[str, int], tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """What is known of the outputs of ``node``."""
    inputs: list[Tensor | None] = []
    for name in node.inputs:
        tensor = tensors.get(name, Tensor(mixed=f"tensor {name!r} has no origin")) if name else None
        if tensor is not None and tensor.mixed is not None:
            return [tensor] * len(node.outputs)
        inputs.append(tensor)
    rule = RULES.get((node.domain, node.operator))
    count = len(node.outputs)
    if rule is None or node.subgraphs:
        return [_mixed(node, KNOWN_TO_MIX.get(node.operator, "is not known to keep rows apart"))] * count
    all_shared = all(tensor is None or tensor.is_shared for tensor in inputs)
    try:
        results = rule(Call(node, inputs, opsets.get(node.domain, 1)))
        if any(tensor is not None and tensor.numbers for tensor in inputs):
            results = [_numbered(tensor) for tensor in results]
    except MixesError as error:
        results = [shared()] * count if all_shared else [_mixed(node, str(error))] * count
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # A graph that ONNX Runtime refuses, too, or a form of the operator that the rule does not know.
        results = [_mixed(node, f"cannot be followed ({type(error).__name__}: {error})")] * count
    return [*results, *[_mixed(node, "has more results than are known")] * (count - len(results))]


def _numbered(tensor: Tensor) -> Tensor:
    """A result of something with the numbers of rows in it."""
    return tensor if tensor.rows is None or tensor.numbers or tensor.own else replace(tensor, numbers="some")


def _mixed(node: Node, reason: str) -> Tensor:
    where = f" ({node.name})" if node.name else ""
    domain = f"{node.domain}." if node.domain else ""
    return Tensor(mixed=f"operator {domain}{node.operator}{where} {reason}")


def _fault(name: str, tensor: Tensor | None) -> str | None:
    """Why an output does not have one part for each row of the batch, in order; None: it has."""
    if tensor is None:
        return f"output {name!r} has no origin"
    if tensor.mixed is not None:
        return tensor.mixed
    if tensor.rows is None:
        return f"output {name!r} is the same whatever the batch has"
    if tensor.numbers is not None:
        return f"output {name!r} depends on the place that a row has in the batch"
    if tensor.rows != _OWN:
        return f"output {name!r} does not have the batch as its first dimension"
    return None
