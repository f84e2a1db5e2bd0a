"""ONNX Runtime sessions, on the CPU and quiet."""

import ctypes
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgemodel_compressor.errors import first_line
from edgemodel_compressor.onnxmodel.parallel import in_order

# The package has set ORT_DISABLE_TELEMETRY before this import; this is for builds that do not know the variable.
onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(4)

Array = NDArray[Any]
Feed = Mapping[str, Array]

_BFLOAT16 = "tensor(bfloat16)"
MAX_PARALLEL = 4
"""Runs of one model: each has its own activations in memory."""


def available_cpus() -> int:
    """The CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Session:
    """One model loaded for inference on ``threads`` threads of the CPU.

    ``widened`` adds up products of integers in 32 bits on every CPU, with slower kernels where this one would saturate:
    the answers are those of a CPU with dot products, whichever this is.
    """

    def __init__(self, model: Path, threads: int, *, widened: bool = False) -> None:
        self._threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # As the server does it: idle threads wait actively only on CPUs of their own.
        spinning = 1 < threads <= available_cpus()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.add_session_config_entry("session.x64quantprecision", str(int(widened)))
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        items = (*self._session.get_inputs(), *self._session.get_outputs())
        self._bfloat16 = {item.name for item in items if item.type == _BFLOAT16}

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs, in the model's order."""
        return [item.name for item in self._session.get_inputs()]

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in the order of ``run``."""
        return [output.name for output in self._session.get_outputs()]

    def run(self, feed: Feed) -> list[Array]:
        """All outputs, in the model's order, for one batch."""
        if not self._bfloat16:
            return [np.asarray(output) for output in self._session.run(None, dict(feed))]
        values: dict[str, Any] = {
            name: _value(array) if name in self._bfloat16 else array for name, array in feed.items()
        }
        if self._bfloat16.isdisjoint(self.outputs):
            return [np.asarray(output) for output in self._session.run(None, values)]
        others = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in feed.items()
            if name not in self._bfloat16
        }
        return [_array(result) for result in self._session.run_with_ort_values(None, {**values, **others})]

    def run_each(self, feeds: Iterable[Feed]) -> Iterator[list[Array]]:
        """``run`` of each of ``feeds``, in their order: as many at once as there are CPUs for, up to MAX_PARALLEL."""
        parallel = min(available_cpus() // self._threads, MAX_PARALLEL)
        return in_order(self.run, feeds, parallel if parallel > 1 else 0)


def _value(array: Array) -> Any:
    """A tensor of bfloat16, of its bits: ONNX Runtime knows no numpy dtype for it."""
    bits = np.ascontiguousarray(array).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)


def _array(value: Any) -> Array:
    if value.data_type() != _BFLOAT16:
        return np.asarray(value.numpy())
    array: Array = np.empty(value.shape(), helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
    if array.size:
        ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array


def optimize(source: Path, target: Path, external: bool) -> None:
    """Write what ONNX Runtime makes of ``source`` before it looks at the hardware: constants folded, norms fused.

    With ``external`` the weights go to ``<target>.data`` beside it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    if external:
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{target.name}.data"
        )
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def explain(error: BaseException) -> str:
    """What ONNX Runtime says, without its error codes and without the path of a temporary file."""
    text = first_line(error, 1000)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^Load model from \S+ failed: ?", "", text)
    text = re.sub(r"^/\S+\.(?:cc|h|cpp):\d+ .*?\) ?(?:const )?", "", text)
    return text if len(text) <= 300 else text[:299] + "…"
