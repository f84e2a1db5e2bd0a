"""Inputs that are the same in every request, made constants of the model: a sampling rate, a threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.model import Model, require_loading
from edgemodel_compressor.onnxmodel.modelfile import model_size, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_compressor.onnxmodel.tensors import dtype_of
from edgemodel_contract.task import TensorSpec


def fix_inputs(model: Model, values: Mapping[str, Sequence[float]], folder: Path, threads: int) -> Model:
    """``model`` with the inputs that ``values`` names as constants: a single number is every element of its input.

    Raises:
        TaskError: InvalidTask where there is no such input, or it has another number of elements.
    """
    if not values:
        return model
    specs = {spec.name: spec for spec in model.inputs}
    proto = read_model(model.path)
    for name, numbers in values.items():
        if name not in specs:
            known = ", ".join(repr(other) for other in specs)
            raise TaskError("InvalidTask", f"The model has no input {name!r} to be fixed; it has {known}: mend fixed.")
        proto.graph.initializer.append(numpy_helper.from_array(_constant(specs[name], numbers), name))
    left = [value for value in proto.graph.input if value.name not in values]
    if len(model.inputs) == len(values):
        raise TaskError("InvalidTask", "All inputs of the model are fixed, so that it always answers the same.")
    del proto.graph.input[:]
    proto.graph.input.extend(left)
    path = folder / "fixed.onnx"
    write_model(proto, path, model.path.parent)
    require_loading(path, threads)
    inputs = tuple(spec for spec in model.inputs if spec.name not in values)
    return replace(model, path=path, size=model_size(path), inputs=inputs)


def _constant(spec: TensorSpec, numbers: Sequence[float]) -> Array:
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    dtype = dtype_of(spec)
    values = np.array(numbers, np.float64)
    if len(numbers) not in (1, int(np.prod(shape, initial=1))):
        raise TaskError(
            "InvalidTask",
            f"The input {spec.name!r} has {int(np.prod(shape, initial=1))} elements, and {len(numbers)} values are "
            "given to fix it at: give one for all, or one for each.",
        )
    if dtype.kind in "iub" and not np.array_equal(values, values.astype(dtype)):
        raise TaskError("InvalidTask", f"The input {spec.name!r} is {spec.datatype}; fix it at values of that type.")
    return np.broadcast_to(values.astype(dtype).reshape(shape if len(numbers) > 1 else ()), shape).copy()
