"""How much a unit matters by what it says: the mean of |x| where weights read it (Molchanov et al., 2017)."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.structure.analysis import Analysis, Group
from edgemodel_compressor.graph.structure.importance.scores import Scores, normalised
from edgemodel_compressor.graph.weights import constants

Run = Callable[[ModelProto], Iterable[Sequence[NDArray[np.floating]]]]
"""Runs a model on one feed after another, and yields the outputs of each."""

_READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_AXES_AS_INPUT = 18


def activation(proto: ModelProto, analysis: Analysis, run: Run) -> Scores:
    """The mean absolute value of a unit over samples and positions, where a layer's weights are about to read it.

    ``run`` gets a copy of ``proto`` whose outputs are these means, one vector per layer and dimension: little to keep,
    however many samples there are. Units that no layer reads directly count as average.
    """
    places = _places(proto, analysis)
    labels = [analysis.axes[name][axis] for name, axis in places]
    sums = [np.zeros(len(axis)) for axis in labels]
    for answers in run(_probe(proto, places, analysis)) if places else ():
        for total, answer in zip(sums, answers, strict=True):
            total += answer
    read, said = (np.concatenate([np.zeros(0), *parts]) for parts in (labels, sums))
    return {group.name: normalised(_means(group, read, said)) for group in analysis.groups}


def _means(group: Group, read: NDArray[np.float64], said: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(group.roots)
    where = np.isin(read, group.roots)
    unit = order[np.searchsorted(group.roots[order], read[where])]
    counts = np.bincount(unit, minlength=group.units)
    totals = np.bincount(unit, weights=said[where], minlength=group.units)
    average = totals.sum() / max(1, counts.sum())
    return np.where(counts > 0, totals / np.maximum(counts, 1), average)


def _places(proto: ModelProto, analysis: Analysis) -> list[tuple[str, int]]:
    """Tensors that layers read, and their dimensions of which something can go."""
    weights = constants(proto.graph)
    read = dict.fromkeys(
        name for node in proto.graph.node if node.op_type in _READERS for name in node.input[:2] if name not in weights
    )
    return [
        (name, number) for name in read for number, axis in enumerate(analysis.axes.get(name, ())) if (axis >= 0).any()
    ]


def _probe(proto: ModelProto, places: Sequence[tuple[str, int]], analysis: Analysis) -> ModelProto:
    opset = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
    probe = ModelProto()
    probe.CopyFrom(proto)
    graph = probe.graph
    del graph.output[:]
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    prefix = "probe"
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    for index, (name, axis) in enumerate(places):
        magnitude, mean, output = (f"{prefix}/{index}/{part}" for part in ("magnitude", "mean", "output"))
        others = [number for number in range(len(analysis.axes[name])) if number != axis]
        graph.node.append(helper.make_node("Abs", [name], [magnitude]))
        if opset < _AXES_AS_INPUT:
            graph.node.append(helper.make_node("ReduceMean", [magnitude], [mean], axes=others, keepdims=0))
        else:
            graph.initializer.append(numpy_helper.from_array(np.array(others, np.int64), f"{mean}/axes"))
            graph.node.append(helper.make_node("ReduceMean", [magnitude, f"{mean}/axes"], [mean], keepdims=0))
        graph.node.append(helper.make_node("Cast", [mean], [output], to=TensorProto.FLOAT))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [len(analysis.axes[name][axis])]))
    return probe
