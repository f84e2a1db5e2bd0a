"""The model in ONNX Runtime: load it, check it against its card, run tensors through it."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError, ModelError, ModelFailedError
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.folder import ModelFolder
from edgemodel_server.model.ort import onnxruntime
from edgemodel_server.protocol.bfloat16 import ONNX_TYPE
from edgemodel_server.protocol.datatypes import ONNX_RUNTIME, Array

_InvalidArgument = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument

_OrtValue = onnxruntime.OrtValue

_FATAL_ONLY = 4


class Engine:
    """One loaded model. ``run`` may be called from several threads at once."""

    def __init__(self, folder: ModelFolder, parallelism: Parallelism) -> None:
        """Load the model of ``folder``.

        Raises:
            ModelError: ONNX Runtime cannot load it, or its inputs or outputs are not those of the card.
        """
        self.card = folder.card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = parallelism.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(parallelism.spinning)))
        # Errors come back as exceptions; ONNX Runtime's own log would repeat each on stderr in another format.
        options.log_severity_level = _FATAL_ONLY
        try:
            # By path, not bytes: external data is mapped into memory from there instead of copied.
            self._session = onnxruntime.InferenceSession(str(folder.model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {folder.model}: {_first_line(error)}"
            ) from error
        self._bfloat16 = {spec.name for spec in (*self.card.inputs, *self.card.outputs) if spec.datatype == "BF16"}
        _check(folder, "input", self.card.inputs, self._session.get_inputs())
        _check(folder, "output", self.card.outputs, self._session.get_outputs())
        strings = [spec.name for spec in self.card.inputs if spec.datatype == "BYTES"]
        if strings and any(spec.datatype == "BF16" for spec in self.card.outputs):
            raise ModelError(
                f"{folder.model} has inputs of strings ({', '.join(strings)}) and outputs of bfloat16, which ONNX "
                "Runtime does not take together from Python: export it with outputs of float32"
            )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str], stop: "Stop | None" = None) -> list[Array]:
        """Run the model once; one array per name in ``outputs``, in that order. ``stop`` ends it early.

        Raises:
            BadRequestError: the model refuses values that its types and shapes allow.
            ModelFailedError: it failed while computing, or was stopped.
        """
        options = stop.options if stop else None
        try:
            if self._bfloat16:
                return self._run_bfloat16(inputs, outputs, options)
            return list(self._session.run(list(outputs), dict(inputs), options))
        except _InvalidArgument as error:
            raise BadRequestError(f"inputs: the model refuses them: {_first_line(error)}") from error
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelFailedError(f"the model failed on these inputs: {_first_line(error)}") from error

    def _run_bfloat16(self, inputs: Mapping[str, Array], outputs: Sequence[str], options: Any) -> list[Array]:
        """As ``run``, with tensors of bfloat16, which ONNX Runtime neither makes of numpy's arrays nor arrays of."""
        values = {name: _value(array) if name in self._bfloat16 else array for name, array in inputs.items()}
        if self._bfloat16.isdisjoint(outputs):
            return list(self._session.run(list(outputs), values, options))
        others = {name: _OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items() if values[name] is array}
        results = self._session.run_with_ort_values(list(outputs), {**values, **others}, options)
        return [_array(result) for result in results]


class Stop:
    """Ends one run of the model before it is through."""

    def __init__(self) -> None:
        """A run that is not stopped."""
        self.options = onnxruntime.RunOptions()

    def set(self) -> None:
        """End the run at the next operator; from any thread, more than once if need be."""
        self.options.terminate = True


def _value(bits: Array) -> Any:
    """The tensor of bfloat16 that shares the memory of ``bits``."""
    return _OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(bits).reshape(bits.shape), ONNX_TYPE)


def _array(value: Any) -> Array:
    """The tensor ``value`` as an array of its own; of bfloat16 the bits."""
    if ONNX_RUNTIME[value.data_type()] != "BF16":
        array: Array = value.numpy()
        return array
    bits: Array = np.empty(value.shape(), np.uint16)
    if bits.size:
        ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return bits


def _check(folder: ModelFolder, kind: str, specs: Sequence[TensorSpec], actual: Sequence[Any]) -> None:
    """Raise ModelError unless the session's inputs or outputs are those of the card."""
    again = "the card belongs to another model; build the model image again"
    if {spec.name for spec in specs} != {node.name for node in actual}:
        raise ModelError(
            f"{folder.model} has the {kind}s {sorted(node.name for node in actual)} but its card says "
            f"{sorted(spec.name for spec in specs)}: {again}"
        )
    by_name = {node.name: node for node in actual}
    for spec in specs:
        node = by_name[spec.name]
        datatype = ONNX_RUNTIME.get(node.type)
        if datatype != spec.datatype:
            raise ModelError(
                f"{kind} {spec.name!r} of {folder.model} is {datatype or node.type} but its card says "
                f"{spec.datatype}: {again}"
            )
        if not _shape_fits(kind, spec.shape, node.shape):
            raise ModelError(
                f"{kind} {spec.name!r} of {folder.model} has shape {node.shape} but its card says "
                f"{list(spec.shape)}: {again}"
            )


def _shape_fits(kind: str, card: Sequence[int], actual: Sequence[int | str | None] | None) -> bool:
    """The card may fix what the model leaves open. Outputs may also have no known shape at all in the file."""
    if kind == "output" and not actual:
        return True
    if actual is None or len(card) != len(actual):
        return False
    pairs = zip(card, actual, strict=True)
    return all(not isinstance(real, int) or real < 0 or said == real for said, real in pairs)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
