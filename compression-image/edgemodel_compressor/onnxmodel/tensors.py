"""Inputs and outputs: ONNX element types, Open Inference Protocol datatypes, numpy dtypes, concrete shapes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgemodel_compressor.errors import TaskError
from edgemodel_contract.task import Datatype, TensorSpec

_DATATYPES: dict[int, Datatype] = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.STRING: "BYTES",
}
_DTYPES: dict[Datatype, np.dtype[Any]] = {
    datatype: onnx.helper.tensor_dtype_to_np_dtype(element) for element, datatype in _DATATYPES.items()
}


def dtype_of(spec: TensorSpec) -> np.dtype[Any]:
    """The numpy dtype of a tensor."""
    return _DTYPES[spec.datatype]


def datatype_of(dtype: np.dtype[Any]) -> Datatype | None:
    """The datatype of a numpy dtype; None for what is not numbers."""
    return next((datatype for datatype, known in _DTYPES.items() if known == dtype and datatype != "BYTES"), None)


def read_spec(value: onnx.ValueInfoProto, kind: str) -> TensorSpec:
    """Name, datatype and shape of a graph input or output; ``-1`` where the file leaves a dimension open.

    Raises:
        TaskError: UnsupportedModel for sequences, optional values, rare element types and unknown rank.
    """
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type) if value.type.HasField("tensor_type") else None
    if datatype is None:
        raise TaskError(
            "UnsupportedModel",
            f"The model's {kind} {value.name!r} is not a tensor of numbers or strings; export the model with such "
            "tensors.",
        )
    if not tensor.HasField("shape"):
        raise TaskError(
            "UnsupportedModel",
            f"The model does not say how many dimensions its {kind} {value.name!r} has; export it with shapes.",
        )
    shape = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, datatype=datatype, shape=shape)


def check_numbers(specs: Iterable[TensorSpec]) -> None:
    """Only numbers can be compared, and what cannot be compared is not compressed.

    Raises:
        TaskError: UnsupportedModel, naming the tensor of strings or of bfloat16.
    """
    for spec in specs:
        if spec.datatype == "BYTES":
            raise TaskError(
                "UnsupportedModel",
                f"The model's tensor {spec.name!r} holds strings, so it can be deployed, but not compressed; set "
                "compression.mode: None, or export the model with numbers and keep text processing outside it.",
            )
        if spec.datatype == "BF16":
            raise TaskError(
                "UnsupportedModel",
                f"The model's tensor {spec.name!r} is bfloat16, so it can be deployed, but not compressed; set "
                "compression.mode: None, or export the model with inputs and outputs of float32.",
            )


def apply_hints(specs: Sequence[TensorSpec], hints: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """``specs`` with open dimensions filled in from ``hints`` of the same name.

    Raises:
        TaskError: InvalidTask where a hint names no input or contradicts the file.
    """
    known = {spec.name: spec for spec in specs}
    for hint in hints:
        spec = known.get(hint.name)
        if spec is None:
            raise TaskError(
                "InvalidTask", f"The model has no input {hint.name!r}; it has {_names(known)}: mend inputs."
            )
        fits = len(hint.shape) == len(spec.shape) and all(
            want in (-1, have) or have == -1 for want, have in zip(hint.shape, spec.shape, strict=True)
        )
        if not fits or hint.datatype != spec.datatype:
            raise TaskError(
                "InvalidTask",
                f"The input {hint.name!r} is {describe(spec)} in the model but {describe(hint)} in the task: "
                "mend inputs.",
            )
        shape = tuple(have if have != -1 else want for have, want in zip(spec.shape, hint.shape, strict=True))
        known[hint.name] = TensorSpec(name=spec.name, datatype=spec.datatype, shape=shape)
    return tuple(known.values())


def require_concrete(specs: Sequence[TensorSpec], samples: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    """``specs`` whose only open dimension is the first, the batch; others are taken from the shapes of ``samples``.

    Raises:
        TaskError: InvalidTask naming the input whose shape nobody states.
    """
    concrete = []
    for spec in specs:
        shape = spec.shape
        seen = samples.get(spec.name)
        if seen is not None and len(seen) == len(shape):
            shape = (shape[:1]) + tuple(s if d == -1 else d for d, s in zip(shape[1:], seen[1:], strict=True))
        if -1 in shape[1:]:
            example = [1, *(d if d != -1 else "…" for d in spec.shape[1:])]
            raise TaskError(
                "InvalidTask",
                f"The model leaves dimensions of its input {spec.name!r} open ({describe(spec)}); state them in "
                f"inputs, for instance {spec.name} with shape {example}".replace("'", "")
                + ", or give a dataset that shows them.",
            )
        concrete.append(TensorSpec(name=spec.name, datatype=spec.datatype, shape=shape))
    return tuple(concrete)


def batch_of_one(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of one request: an open batch dimension becomes 1."""
    return tuple(1 if dim == -1 else dim for dim in spec.shape)


def describe(spec: TensorSpec) -> str:
    """``FP32[?, 3, 224, 224]``, for sentences."""
    return f"{spec.datatype}[{', '.join('?' if dim == -1 else str(dim) for dim in spec.shape)}]"


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
