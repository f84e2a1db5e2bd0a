"""What the tests of structured pruning ask of a model: its answers, its size, and a way to rate units by chance."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgemodel_compressor.graph.structure import Analysis, Scores
from tests.architectures import NAMES, Exporter, opsets

EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")
CASES = [(name, exporter, opset) for name, exporter in product(NAMES, EXPORTERS) for opset in opsets(name, exporter)]
"""Every architecture, by either exporter, at each of its opsets."""


def outputs(proto: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """All outputs of ``proto`` in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers: list[NDArray[np.float32]] = session.run(None, dict(feed))
    return answers


def run(proto: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The first output of ``proto``."""
    return outputs(proto, feed)[0]


def chance(analysis: Analysis, seed: int) -> Scores:
    """A score per unit that knows nothing of the weights, so that any units may go."""
    rng = np.random.default_rng(seed)
    return {group.name: rng.random(group.units) for group in analysis.groups}
