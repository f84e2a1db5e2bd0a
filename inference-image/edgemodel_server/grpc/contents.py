"""Typed tensor contents of the protocol's messages to numpy arrays and back."""

import numpy as np

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError
from edgemodel_server.grpc.open_inference_pb2 import InferTensorContents
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.memory import Memory
from edgemodel_server.protocol.raw import strings, strings_bytes, text
from edgemodel_server.protocol.shapes import elements, too_large

FIELDS: dict[Datatype, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The protocol has none for FP16 and BF16."""
PIECE_ELEMENTS = 16 * 1024
"""Python's numbers made at a time."""


def decode_contents(
    spec: TensorSpec, shape: tuple[int, ...], contents: InferTensorContents, field: str, memory: Memory
) -> Array:
    """The array that ``contents`` holds. ``shape`` fits ``spec`` already; ``field`` is where it was found. ``memory``
    is charged with the array.

    Raises:
        BadRequestError: another number of elements than the shape's, elements in the field of another datatype, out of
            range or, for BYTES, not UTF-8.
        RequestError: there is no memory for it.
    """
    name = FIELDS.get(spec.datatype)
    if name is None:
        raise BadRequestError(f"{field}: {spec.datatype} has no typed contents; use raw_input_contents")
    others = [found.name for found, _ in contents.ListFields() if found.name != name]
    if others:
        raise BadRequestError(f"{field}.{others[0]} is not for {spec.datatype}; use {name}")
    values = getattr(contents, name)
    count = elements(shape)
    if len(values) != count:
        raise BadRequestError(f"{field}.{name} has {len(values)} elements; shape {list(shape)} has {count}")
    dtype = NUMPY[spec.datatype]
    if spec.datatype == "BYTES":
        memory.hold(strings_bytes(count, sum(map(len, values))))
        return strings([text(item, f"{field}.{name}[{index}]") for index, item in enumerate(values)], shape, field)
    memory.hold(count * dtype.itemsize)
    try:
        # Not ``np.array``, which makes a list of Python's numbers first.
        array: Array = np.fromiter(values, dtype, count)
        return array.reshape(shape)
    except OverflowError as error:
        raise BadRequestError(f"{field}.{name} has an element out of the range of {spec.datatype}") from error
    except ValueError as error:
        raise too_large(shape, field) from error


def encode_contents(datatype: Datatype, array: Array) -> InferTensorContents:
    """``array`` as typed contents, which ``datatype`` has."""
    contents = InferTensorContents()
    field, flat = getattr(contents, FIELDS[datatype]), array.reshape(-1)
    for start in range(0, len(flat), PIECE_ELEMENTS):
        values = flat[start : start + PIECE_ELEMENTS].tolist()
        if datatype == "BYTES":
            values = [item if isinstance(item, bytes) else str(item).encode() for item in values]
        field.extend(values)
    return contents
