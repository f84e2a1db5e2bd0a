"""A selection carried out: by zeros (``mask``), or by smaller tensors (``remove``). Both give the same outputs.

They do because a unit leaves a graph only through weights that it is multiplied with: whatever it holds, a product with
zero is what a sum without it has. Everything else that would see it (a mean over channels, a softmax, the model's
outputs) keeps its dimensions whole, which ``analyse`` sees to.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from edgemodel_compressor.graph.structure.selection import Selection
from edgemodel_compressor.graph.structure.sharing import unshare
from edgemodel_compressor.graph.structure.stated_sizes import update_stated_sizes
from edgemodel_compressor.graph.weights import constants


def mask(proto: ModelProto, selection: Selection) -> ModelProto:
    """A copy of ``proto`` in which all weights of the units that go are zero: the shapes are the same."""
    masked = ModelProto()
    masked.CopyFrom(proto)
    unshare(masked)
    known = constants(masked.graph)
    for name, places in _places(selection).items():
        values = numpy_helper.to_array(known[name]).copy()
        for axis, gone in places.items():
            values[(slice(None),) * axis + (gone,)] = 0
        _store(known[name], values)
    return masked


def remove(proto: ModelProto, selection: Selection) -> ModelProto:
    """A copy of ``proto`` without the units that go, and with every size in it that speaks of them corrected.

    Inputs and outputs are as they were. Shapes noted for inner tensors are dropped, as they are no longer true.
    """
    smaller = ModelProto()
    smaller.CopyFrom(proto)
    unshare(smaller)
    known = constants(smaller.graph)
    for name, places in _places(selection).items():
        values = numpy_helper.to_array(known[name])
        for axis, gone in places.items():
            values = np.delete(values, gone, axis)
        _store(known[name], values)
    del smaller.graph.value_info[:]
    update_stated_sizes(smaller, selection)
    return smaller


def _places(selection: Selection) -> dict[str, dict[int, NDArray[np.int64]]]:
    """Weight and axis to the positions that go."""
    found: dict[str, dict[int, list[NDArray[np.int64]]]] = defaultdict(lambda: defaultdict(list))
    for name, units in selection.removed.items():
        for part in selection.analysis.group(name).slices:
            found[part.tensor][part.axis].append(part.indices[list(units)].reshape(-1))
    return {
        tensor: {axis: np.unique(np.concatenate(gone)) for axis, gone in axes.items()} for tensor, axes in found.items()
    }


def _store(tensor: TensorProto, values: NDArray[np.generic]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
