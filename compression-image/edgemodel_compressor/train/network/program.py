"""A graph as a list of steps over numbered slots: nothing is looked up by name while it runs."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from onnx import GraphProto, ModelProto, NodeProto
from torch import Tensor

from edgemodel_compressor.errors import first_line
from edgemodel_compressor.graph.weights import constants
from edgemodel_compressor.train.network.dtypes import to_torch
from edgemodel_compressor.train.network.node import Build, Node, Run, read_node
from edgemodel_compressor.train.network.operators import OPERATORS

_MISSING = 0
"""The slot of an input that is left out; it holds None."""


@dataclass(frozen=True)
class Step:
    """One node: its function, where it reads, where it writes, and which slots nothing reads afterwards."""

    run: Run
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    dead: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """What to run, and the slots as they are before: weights and constants in place, everything else None."""

    steps: tuple[Step, ...]
    values: tuple[Tensor | None, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def run(self, inputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """The outputs for ``inputs``."""
        values = list(self.values)
        for slot, entry in zip(self.inputs, inputs, strict=True):
            values[slot] = entry
        for step in self.steps:
            result = step.run(*[values[slot] for slot in step.sources])
            if isinstance(result, tuple):
                # An operator may have more outputs than the node asks for.
                for slot, part in zip(step.targets, result, strict=False):
                    values[slot] = part
            else:
                values[step.targets[0]] = result
            for slot in step.dead:
                values[slot] = None
        return tuple(value for slot in self.outputs if (value := values[slot]) is not None)


def compile_graph(
    proto: ModelProto,
    inputs: Sequence[str],
    outputs: Sequence[str],
    weights: Mapping[str, Tensor],
    operators: Mapping[str, Build] = OPERATORS,
) -> Program:
    """The part of ``proto`` that leads from ``inputs`` to ``outputs``, with ``weights`` by their names.

    Weights are tensors that may change. Nodes that depend on other constants alone are run here, once.

    Raises:
        NotApplicableError: an operator, or a form of one, is not supported; the message names the node.
    """
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
    nodes = [read_node(node, opset) for node in _needed(proto.graph.node, outputs)]
    fixed = _constants(proto.graph, {*outputs, *(name for node in nodes for name in node.inputs)} - set(weights))
    moving: list[tuple[Node, Run]] = []
    for node in nodes:
        if all(name in fixed or name in weights for name in node.outputs):
            continue
        run = _runnable(node, operators)
        if all(not name or name in fixed for name in node.inputs):
            fixed |= _evaluate(node, run, fixed)
        else:
            moving.append((node, run))
    return _assemble(moving, inputs, outputs, {**fixed, **weights})


def _assemble(
    nodes: Sequence[tuple[Node, Run]], inputs: Sequence[str], outputs: Sequence[str], known: Mapping[str, Tensor]
) -> Program:
    """Names become slots; a tensor that is neither known nor an output is let go after its last use."""
    slots = {"": _MISSING}
    values: list[Tensor | None] = [None]

    def slot(name: str) -> int:
        if name not in slots:
            slots[name] = len(values)
            values.append(known.get(name))
        return slots[name]

    last = {name: index for index, (node, _) in enumerate(nodes) for name in (*node.outputs, *node.inputs)}
    dying: dict[int, list[str]] = {}
    for name in last.keys() - {*outputs, *known, ""}:
        dying.setdefault(last[name], []).append(name)
    entries = tuple(slot(name) for name in inputs)
    steps = tuple(
        Step(
            run,
            tuple(slot(name) for name in node.inputs),
            # An output without a name still needs a place to go to; slot 0 stays None.
            tuple(slot(name or f"{node.name} unused") for name in node.outputs),
            tuple(slot(name) for name in dying.get(index, ())),
        )
        for index, (node, run) in enumerate(nodes)
    )
    exits = tuple(slot(name) for name in outputs)
    return Program(steps, tuple(values), entries, exits)


def _needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that ``outputs`` depend on, in their order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            found.append(node)
            wanted.update(name for name in node.input if name)
    return found[::-1]


def _constants(graph: GraphProto, names: Set[str]) -> dict[str, Tensor]:
    return {name: to_torch(tensor) for name, tensor in constants(graph).items() if name in names}


def _runnable(node: Node, operators: Mapping[str, Build]) -> Run:
    build = operators.get(node.operator)
    if build is None:
        raise node.refuse("the operator is not known to the training")
    return build(node)


def _evaluate(node: Node, run: Run, fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        try:
            result = run(*[fixed.get(name) for name in node.inputs])
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise node.refuse(first_line(error)) from error
    parts = result if isinstance(result, tuple) else (result,)
    return {name: part for name, part in zip(node.outputs, parts, strict=False) if name}
