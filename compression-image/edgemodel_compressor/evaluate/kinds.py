"""What an output is, told from where the graph ends and from what the original answers. Pure."""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, is_distribution
from edgemodel_compressor.evaluate.fidelity.sequences import BLANK_SHARE
from edgemodel_compressor.onnxmodel.walk import graphs
from edgemodel_contract.quality import Fidelity

_SHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Cast", "Identity", "QuantizeLinear"}
_SHAPING |= {"DequantizeLinear", "Slice"}
_BETWEEN_0_AND_1 = {"Sigmoid", "HardSigmoid"}
_NORMS = {"LayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization", "LpNormalization"}
_NORMS |= {"RMSNormalization", "SkipSimplifiedLayerNormalization", "EmbedLayerNormalization"}
_ROOTS = {"Sqrt", "ReduceL2"}
_POOLS = {"GlobalAveragePool", "ReduceMean"}
MIN_VECTOR = 16
"""Features from which on a mean over positions is a vector to compare, and not some numbers."""
MIN_CLASSES = 2
MIN_LETTERS = 10
"""Classes of an alphabet; half as many letters must have been read."""
RARE = 0.05
"""Share of the samples: what is the largest of a list that seldom is no class."""


def kind_of(proto: ModelProto, name: str, answers: Answers) -> Fidelity:
    """By what the output ``name`` of ``proto`` is judged; ``answers`` are the original's."""
    first = answers[0]
    shape = first.shape[1:] if first.shape[:1] == (1,) else first.shape
    single = all(array.size == 1 for array in answers)
    if first.dtype.kind != "f":
        return "Agreement" if single else "Sequence"
    end = _End.of(proto.graph, name)
    if single:
        return "Scores" if end.op_type in _BETWEEN_0_AND_1 else "Values"
    if end.op_type in _BETWEEN_0_AND_1:
        return "Scores"
    if end.op_type == "Softmax" or is_distribution(answers):
        if len(shape) == 1:
            return "Agreement"
        # A matrix of attention: as many rows as columns, or one for each head.
        attention = len(shape) != 2 or shape[0] == shape[1]
        return "Scores" if attention or not _is_last(end, len(first.shape)) else "Sequence"
    if end.op_type in _NORMS or end.normalizes or (end.op_type in _POOLS and _features(answers) >= MIN_VECTOR):
        return "Cosine"
    if (end.op_type == "LogSoftmax" and len(shape) == 2) or (end.projects and _spells(answers)):
        return "Sequence"
    return "Agreement" if len(shape) == 1 and _names_classes(answers) else "Values"


def detects(proto: ModelProto) -> bool:
    """Whether the graph, however deep, suppresses detections that overlap."""
    return any(node.op_type == "NonMaxSuppression" for graph in graphs(proto.graph) for node in graph.node)


class _End:
    """The operator that makes an output, behind those that only shape it."""

    def __init__(self, node: NodeProto | None, producers: Mapping[str, NodeProto], constants: set[str]) -> None:
        self._node, self._producers, self._constants = node, producers, constants
        self.op_type = node.op_type if node is not None else ""

    @classmethod
    def of(cls, graph: GraphProto, name: str) -> "_End":
        producers = {output: node for node in graph.node for output in node.output}
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
        seen: set[str] = set()
        while name in producers and producers[name].op_type in _SHAPING and name not in seen:
            seen.add(name)
            name = producers[name].input[0]
        return cls(producers.get(name), producers, constants)

    @property
    def axis(self) -> int:
        """Of a Softmax; the last one where it does not say."""
        return next((item.i for item in self._attributes() if item.name == "axis"), -1)

    @property
    def projects(self) -> bool:
        """Whether it is a linear layer, as those that end in scores which only the loss made probabilities of."""
        node = self._node
        if node is not None and node.op_type == "Add" and any(name in self._constants for name in node.input):
            node = next((self._producers.get(name) for name in node.input if name not in self._constants), None)
        return node is not None and node.op_type in ("Gemm", "MatMul")

    @property
    def normalizes(self) -> bool:
        """Whether it divides by a length or by a deviation, and scales what comes of it at most by constants."""
        node = self._node
        while node is not None and node.op_type in ("Add", "Mul") and any(n in self._constants for n in node.input):
            node = next((self._producers.get(name) for name in node.input if name not in self._constants), None)
        if node is None or node.op_type != "Div":
            return False
        below, steps = self._producers.get(node.input[1]), 0
        while (
            below is not None
            and below.op_type in ("Clip", "Max", "Expand", "Add", "Reshape", "Unsqueeze")
            and steps < 5
        ):
            below, steps = self._producers.get(below.input[0]), steps + 1
        return below is not None and (below.op_type in _ROOTS or below.op_type == "Pow")

    def _attributes(self) -> Iterator[AttributeProto]:
        if self._node is not None:
            yield from self._node.attribute


def _is_last(end: _End, rank: int) -> bool:
    return end.op_type != "Softmax" or end.axis in (-1, rank - 1)


def _features(answers: Answers) -> int:
    return answers[0].shape[-1] if answers[0].ndim == 2 and answers[0].shape[0] == 1 else 0


def _spells(answers: Answers) -> bool:
    """Whether scores of classes by position, (1, steps, classes) or (steps, 1, classes), are read by CTC: its blank is
    the first or the last class, the best at most positions, and the others are letters, of which there are several.
    """
    if any(array.ndim != 3 or 1 not in array.shape[:2] or array.shape[-1] < MIN_LETTERS for array in answers):
        return False
    best = np.concatenate([array.argmax(axis=-1).ravel() for array in answers])
    found, counts = np.unique(best, return_counts=True)
    usual = int(found[counts.argmax()])
    blank = usual in (0, answers[0].shape[-1] - 1) and BLANK_SHARE * len(best) < counts.max() < len(best)
    return blank and len(found) > MIN_LETTERS // 2


def _names_classes(answers: Answers) -> bool:
    """Whether several numbers of the list are each now and then the largest, as scores of classes are."""
    best = [int(array.argmax()) for array in answers]
    counts = np.unique(best, return_counts=True)[1]
    usual = counts >= max(RARE * len(best), 1)
    return len(best) < MIN_CLASSES or int(usual.sum()) >= MIN_CLASSES or len(counts) > 1 / RARE
