"""Inference requests as most are: JSON of floating-point tensors, flat, and nothing else but an id.

They are read straight into what they stand for. What is not certain to be such a request is left to those who read any,
and know what to say where it is none.
"""

import struct
from collections.abc import Mapping

import msgspec
import numpy as np

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.shapes import decode_shape, elements

MAX_PLAIN_BYTES = 64 * 1024
"""Larger bodies take longest where they are read in either way."""
_FORMATS: dict[Datatype, str] = {"FP32": "f", "FP64": "d"}
"""How ``struct`` writes them; with a byte order it refuses numbers out of range, and JSON has none that is not finite.
"""


class _Tensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: list[_Tensor]
    id: str | None = None


_TENSOR_KEYS = len(_Tensor.__struct_fields__)
_read = msgspec.json.Decoder(_Request).decode


def decode_plain(
    body: bytes | bytearray, specs: Mapping[str, TensorSpec]
) -> tuple[str | None, dict[str, Array]] | None:
    """Id and inputs of a request to a model whose inputs are ``specs``; None: it is not certain to be a plain one.

    The arrays are those of ``decode_tensor``, but read-only.
    """
    if len(body) > MAX_PLAIN_BYTES:
        return None
    # Every key has a colon. A body without further ones has no key twice, of which the parser would take the last.
    has_id = body.count(b":") - 1 - _TENSOR_KEYS * len(specs)
    if has_id not in (0, 1) or b"\\" in body:
        return None
    try:
        request = _read(body)
        if len(request.inputs) != len(specs) or has_id != (request.id is not None):
            return None
        arrays = {tensor.name: _array(tensor, specs[tensor.name]) for tensor in request.inputs}
    except (BadRequestError, KeyError, OverflowError, ValueError):
        return None
    return (request.id, arrays) if len(arrays) == len(specs) else None


def _array(tensor: _Tensor, spec: TensorSpec) -> Array:
    shape = decode_shape(spec, tensor.datatype, tensor.shape, tensor.name)
    data = tensor.data
    if len(data) != elements(shape):
        raise ValueError("another number of elements than the shape says")
    packed = struct.pack(f"={len(data)}{_FORMATS[spec.datatype]}", *data)
    return np.frombuffer(packed, NUMPY[spec.datatype]).reshape(shape)
