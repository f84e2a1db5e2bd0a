"""The model in ONNX Runtime: load it, check it against its card, run tensors through it."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError, ModelError, ModelFailedError
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.folder import ModelFolder
from edgemodel_server.model.ort import onnxruntime
from edgemodel_server.protocol.datatypes import ONNX_RUNTIME, Array

_InvalidArgument = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument

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
        _check(folder, "input", self.card.inputs, self._session.get_inputs())
        _check(folder, "output", self.card.outputs, self._session.get_outputs())

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str], stop: "Stop | None" = None) -> list[Array]:
        """Run the model once; one array per name in ``outputs``, in that order. ``stop`` ends it early.

        Raises:
            BadRequestError: the model refuses values that its types and shapes allow.
            ModelFailedError: it failed while computing, or was stopped.
        """
        try:
            return list(self._session.run(list(outputs), dict(inputs), stop.options if stop else None))
        except _InvalidArgument as error:
            raise BadRequestError(f"inputs: the model refuses them: {_first_line(error)}") from error
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelFailedError(f"the model failed on these inputs: {_first_line(error)}") from error


class Stop:
    """Ends one run of the model before it is through."""

    def __init__(self) -> None:
        """A run that is not stopped."""
        self.options = onnxruntime.RunOptions()

    def set(self) -> None:
        """End the run at the next operator; from any thread, more than once if need be."""
        self.options.terminate = True


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
