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
    if datatype == spec.datatype and isinstance(shape, list) and len(shape) == len(spec.shape):
        for size, fixed in zip(shape, spec.shape, strict=True):
            if type(size) is not int or not (0 <= size <= MAX_DIMENSION if fixed == -1 else size == fixed):
                break
        else:
            return tuple(shape)
    # Most tensors fit; to say what is wrong with one that does not may take a little longer.
    raise _misfit(spec, datatype, shape, field)


def _misfit(spec: TensorSpec, datatype: Any, shape: Any, field: str) -> BadRequestError:
    """What is wrong with a tensor that is not of ``spec``'s datatype or shape."""
    if datatype != spec.datatype:
        return BadRequestError(f"{field}.datatype is {shown(datatype)}; the model takes {spec.datatype}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        return BadRequestError(f"{field}.shape is {shown(shape)}; give a list of integers like {wanted(spec)}")
    if len(shape) != len(spec.shape):
        return BadRequestError(f"{field}.shape has {len(shape)} dimensions; the model takes {wanted(spec)}")
    index, size = next(
        (index, size)
        for index, (size, fixed) in enumerate(zip(shape, spec.shape, strict=True))
        if not 0 <= size <= MAX_DIMENSION or fixed not in (-1, size)
    )
    rule = f"the model takes {wanted(spec)}" if 0 <= size <= MAX_DIMENSION else f"give 0 to {MAX_DIMENSION}"
    return BadRequestError(f"{field}.shape[{index}] is {size}; {rule}")


def too_large(shape: tuple[int, ...], field: str) -> BadRequestError:
    """For an empty tensor whose other dimensions have a product that numpy cannot index."""
    return BadRequestError(f"{field}.shape {list(shape)} is too large")


def elements(shape: tuple[int, ...]) -> int:
    """Number of elements; exact, however large."""
    return math.prod(shape)


def wanted(spec: TensorSpec) -> str:
    """The model's shape, for messages."""
    return f"{list(spec.shape)}" + (" (-1 is any size)" if -1 in spec.shape else "")
