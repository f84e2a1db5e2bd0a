"""bfloat16, the upper half of a 32-bit float, as its bits: numpy has no dtype for it, nor has JSON."""

import numpy as np

from edgemodel_contract.task import Datatype
from edgemodel_server.protocol.datatypes import Array

ONNX_TYPE = 16
"""``TensorProto.BFLOAT16``."""
EPSILON = 2.0**-7
"""From 1 to the next larger number."""


def to_bfloat16(values: Array) -> Array:
    """Floating-point ``values`` of any shape → their bits, uint16 of the same shape; rounded to the nearest, of two as
    near to the even one. What is too large becomes infinity, and NaN stays NaN."""
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(values, np.float32).reshape(np.shape(values)).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # The rounding of a NaN could carry into its exponent.
    quiet = bits | np.uint32(0x400000)
    upper: Array = (np.where(np.isnan(values), quiet, rounded) >> np.uint32(16)).astype(np.uint16)
    return upper


def from_bfloat16(bits: Array) -> Array:
    """uint16 of any shape → the float32 that they stand for, which are the same numbers."""
    values: Array = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def numbers(datatype: Datatype, array: Array) -> Array:
    """``array``, a tensor of ``datatype``, as something that numpy computes with."""
    return from_bfloat16(array) if datatype == "BF16" else array
