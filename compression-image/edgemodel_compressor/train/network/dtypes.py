"""ONNX element types and arrays as torch has them."""

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from edgemodel_compressor.errors import NotApplicableError

_DTYPES: dict[int, torch.dtype] = {
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
}


def torch_dtype(element: int) -> torch.dtype:
    """The torch dtype of an ONNX element type.

    Raises:
        NotApplicableError: torch does not calculate with it.
    """
    if element not in _DTYPES:
        raise NotApplicableError(
            f"it has tensors of type {TensorProto.DataType.Name(element)}, which torch cannot train"
        )
    return _DTYPES[element]


def to_torch(tensor: TensorProto) -> Tensor:
    """A copy of ``tensor``, of the same shape and element type.

    Raises:
        NotApplicableError: torch does not calculate with its element type.
    """
    dtype = torch_dtype(tensor.data_type)
    array = numpy_helper.to_array(tensor)
    if dtype == torch.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(dtype)
    return torch.from_numpy(np.array(array))


def ints(tensor: Tensor) -> list[int]:
    """A shape, axes or indices: the elements of an integer tensor of rank 0 or 1."""
    values: list[int] = tensor.reshape(-1).tolist()
    return values
