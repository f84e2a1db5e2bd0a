"""What a request says of a tensor, against what the model takes."""

import math
from typing import Any

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError, shown

MAX_DIMENSION = 2**31 - 1


def decode_shape(spec: TensorSpec, datatype: Any, shape: Any, field: str) -> tuple[int, ...]:
    """The shape of a tensor of ``spec``'s datatype. ``field`` is where the tensor was found, for messages.

    Raises:
        BadRequestError: another datatype or shape than the model's.
    """
    if datatype != spec.datatype:
        raise BadRequestError(f"{field}.datatype is {shown(datatype)}; the model takes {spec.datatype}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise BadRequestError(f"{field}.shape is {shown(shape)}; give a list of integers like {wanted(spec)}")
    if len(shape) != len(spec.shape):
        raise BadRequestError(f"{field}.shape has {len(shape)} dimensions; the model takes {wanted(spec)}")
    for index, (size, fixed) in enumerate(zip(shape, spec.shape, strict=True)):
        if not 0 <= size <= MAX_DIMENSION:
            raise BadRequestError(f"{field}.shape[{index}] is {size}; give 0 to {MAX_DIMENSION}")
        if fixed not in (-1, size):
            raise BadRequestError(f"{field}.shape[{index}] is {size}; the model takes {wanted(spec)}")
    return tuple(shape)


def too_large(shape: tuple[int, ...], field: str) -> BadRequestError:
    """For an empty tensor whose other dimensions have a product that numpy cannot index."""
    return BadRequestError(f"{field}.shape {list(shape)} is too large")


def elements(shape: tuple[int, ...]) -> int:
    """Number of elements; exact, however large."""
    return math.prod(shape)


def wanted(spec: TensorSpec) -> str:
    """The model's shape, for messages."""
    return f"{list(spec.shape)}" + (" (-1 is any size)" if -1 in spec.shape else "")
