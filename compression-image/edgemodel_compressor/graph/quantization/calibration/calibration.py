"""One run of the calibration samples through the float graph; every static variant takes its ranges from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.files import scratch
from edgemodel_compressor.graph.quantization.calibration.histogram import Histogram
from edgemodel_compressor.graph.quantization.calibration.ranges import Range, range_of
from edgemodel_compressor.graph.quantization.operators import CARRIERS, weighted
from edgemodel_compressor.graph.quantization.prepare import explained, prepare
from edgemodel_compressor.graph.quantization.recipe import CalibrationMethod
from edgemodel_compressor.onnxmodel.parallel import in_order
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session, available_cpus


@dataclass
class Calibration:
    """How the activations of one prepared model are spread, by tensor."""

    histograms: dict[str, Histogram]
    means: dict[str, NDArray[np.float32]]
    """Channel means (C,) of what convolutions read."""
    samples: int
    _ranges: dict[CalibrationMethod, dict[str, Range]] = field(default_factory=dict)

    def ranges(self, method: CalibrationMethod) -> dict[str, Range]:
        """Tensor to its range by ``method``; computed once."""
        if method not in self._ranges:
            self._ranges[method] = {name: range_of(seen, method) for name, seen in self.histograms.items()}
        return self._ranges[method]


def calibrate(
    source: Path, feeds: Iterable[Feed], folder: Path, advance: Callable[[], None] = lambda: None
) -> Calibration:
    """Run ``feeds`` through the model at ``source``, which is prepared first; ``advance`` is called per feed.

    Memory: the activations of two feeds, of which one is counted while the other is run, and a histogram per tensor.

    Raises:
        NotApplicableError: the model cannot be prepared or run, or ``feeds`` is empty.
    """
    prepared = prepare(source, folder)
    # Beside the prepared model, because it reads the same external data.
    watched = scratch(prepared.parent, "watched", prepared)
    with explained():
        model = onnx.load(prepared, load_external_data=False)
        inputs, names = _watch(model)
        convolved = dict.fromkeys(node.input[0] for node in model.graph.node if node.op_type == "Conv")
        watched.write_bytes(model.SerializeToString())
        del model
        session = Session(watched, 1)

        def activations(feed: Feed) -> dict[str, Array]:
            return dict(zip(session.outputs, session.run(feed), strict=True)) | {name: feed[name] for name in inputs}

        histograms = {name: Histogram() for name in (*inputs, *names)}
        sums: dict[str, NDArray[np.float64]] = {}
        samples = 0
        for seen in in_order(activations, feeds, min(available_cpus() - 1, 1)):
            for name in histograms:
                histograms[name].add(seen[name])
            for name in histograms.keys() & convolved.keys():
                others = tuple(axis for axis in range(seen[name].ndim) if axis != 1)
                sums[name] = sums.get(name, 0.0) + seen[name].mean(axis=others, dtype=np.float64)
            samples += 1
            advance()
    watched.unlink()
    if not samples:
        raise NotApplicableError("there are no samples to calibrate it with")
    means = {name: (total / samples).astype(np.float32) for name, total in sums.items()}
    return Calibration(histograms, means, samples)


def _watch(model: onnx.ModelProto) -> tuple[Sequence[str], Sequence[str]]:
    """The float inputs, and the float activations that are made outputs of ``model``: those that may be quantized."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [
        value.name
        for value in graph.input
        if value.name not in constants and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    outputs = {value.name for value in graph.output}
    names = dict.fromkeys(
        name
        for node in graph.node
        if node.op_type in CARRIERS or weighted(node, constants)
        for name in (*node.input, *node.output)
        if types.get(name) == TensorProto.FLOAT and name not in constants and name not in inputs
    )
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in outputs
    )
    return inputs, list(names)
