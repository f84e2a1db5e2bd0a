"""The model's graph: operators, how tensors connect them, and small constants. Weights stay in the file."""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgemodel_server.model.rows.wire import (
    Value,
    WireError,
    fields,
    number,
    packed,
    packed_fixed,
    text,
    view,
)
from edgemodel_server.protocol.datatypes import Array

LARGEST_CONSTANT = 1024
"""Elements of a constant whose values are read: shapes, axes and scales are small."""
_LARGEST_OF_FLOATS = 16
"""Likewise, where they are not whole numbers: scales, limits, but no weights."""
_FLOATS = {1, 10, 11}

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
"""Of ``TensorProto.DataType``; constants of other types have a shape and no value here."""


@dataclass(frozen=True)
class Constant:
    """A tensor in the file. ``value`` is None where it is large, kept in another file, or of a type without numbers."""

    shape: tuple[int, ...]
    value: Array | None


@dataclass(frozen=True)
class Node:
    """One operator. Names of inputs and outputs that are left out are empty. ``domain`` is empty for ONNX's own.

    ``attributes`` hold int, float, str, lists of those, or Constant; None for a list as long as those of decision
    trees. ``subgraphs``: whether it has any.
    """

    operator: str
    domain: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    subgraphs: bool = False


@dataclass(frozen=True)
class Graph:
    """A model's main graph. ``inputs`` maps names to dimensions: a size, a name that the file gives it, or None."""

    nodes: Sequence[Node]
    constants: Mapping[str, Constant]
    inputs: Mapping[str, Sequence[int | str | None]]
    outputs: Sequence[str]
    opsets: Mapping[str, int] = field(default_factory=dict)


def read_graph(file: Path) -> Graph:
    """The graph in an ONNX file, which is mapped and not read: weights cost neither time nor memory.

    Raises:
        WireError: it is no ONNX file.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        try:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise WireError("the file is empty") from error
        with mapped, memoryview(mapped) as content:
            return parse_graph(content)


def parse_graph(content: memoryview) -> Graph:
    """The graph in the bytes of a ``ModelProto``. Nothing of ``content`` is kept.

    Raises:
        WireError: they are none.
    """
    opsets: dict[str, int] = {}
    graph: memoryview | None = None
    for key, value in fields(content):
        if key == 7:
            graph = view(value)
        elif key == 8:
            domain, version = "", 0
            for inner, item in fields(view(value)):
                if inner == 1:
                    domain = _domain(text(item))
                elif inner == 2:
                    version = number(item)
            opsets[domain] = version
    if graph is None:
        raise WireError("the file has no graph")
    return _graph(graph, opsets)


def _graph(message: memoryview, opsets: Mapping[str, int]) -> Graph:
    nodes: list[Node] = []
    constants: dict[str, Constant] = {}
    inputs: dict[str, Sequence[int | str | None]] = {}
    outputs: list[str] = []
    for key, value in fields(message):
        if key == 1:
            nodes.append(_node(view(value)))
        elif key == 5:
            name, constant = _tensor(view(value))
            constants[name] = constant
        elif key == 15:
            name, constant = _sparse_tensor(view(value))
            constants[name] = constant
        elif key == 11:
            name, dimensions = _value_info(view(value))
            inputs[name] = dimensions
        elif key == 12:
            outputs.append(_value_info(view(value))[0])
    return Graph(nodes, constants, {key: inputs[key] for key in inputs if key not in constants}, outputs, opsets)


def _node(message: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    operator = domain = name = ""
    subgraphs = False
    for key, value in fields(message):
        if key == 1:
            inputs.append(text(value))
        elif key == 2:
            outputs.append(text(value))
        elif key == 3:
            name = text(value)
        elif key == 4:
            operator = text(value)
        elif key == 7:
            domain = _domain(text(value))
        elif key == 5:
            attribute, content, has_graph = _attribute(view(value))
            attributes[attribute] = content
            subgraphs = subgraphs or has_graph
    return Node(operator, domain, name, inputs, outputs, attributes, subgraphs)


def _attribute(message: memoryview) -> tuple[str, Any, bool]:
    """Name and value of an attribute, and whether it is a graph."""
    name, subgraphs = "", False
    single: Any = None
    repeated: list[Any] = []
    kind = 0
    for key, value in fields(message):
        if key == 1:
            name = text(value)
        elif key == 20:
            kind = number(value)
        elif key == 2:
            single = packed_fixed(value, "f")[0]
        elif key == 3:
            single = number(value)
        elif key == 4:
            single = bytes(view(value)).decode(errors="replace")
        elif key == 5:
            single = _tensor(view(value))[1]
        elif key == 22:
            single = _sparse_tensor(view(value))[1]
        elif key == 7:
            repeated += packed_fixed(value, "f")
        elif key == 8:
            repeated += packed(value)
        elif key == 9:
            repeated.append(bytes(view(value)).decode(errors="replace"))
        elif key in (6, 11):
            subgraphs = True
        if len(repeated) > LARGEST_CONSTANT:
            return name, None, subgraphs
    if single is None and kind in (1, 2):
        single = 0  # what is zero need not be written
    return name, repeated if single is None else single, subgraphs


def _tensor(message: memoryview) -> tuple[str, Constant]:
    """Name and content of a ``TensorProto``."""
    name, kind, external = "", 0, False
    shape: list[int] = []
    raw: memoryview | None = None
    listed: list[tuple[int, Value]] = []
    for key, value in fields(message):
        if key == 1:
            shape += packed(value)
        elif key == 2:
            kind = number(value)
        elif key == 8:
            name = text(value)
        elif key == 9:
            raw = view(value)
        elif key == 14:
            external = number(value) == 1
        elif key in (4, 5, 7, 10, 11):
            listed.append((key, value))
    count = int(np.prod(shape, dtype=object)) if shape else 1
    largest = _LARGEST_OF_FLOATS if kind in _FLOATS else LARGEST_CONSTANT
    known = kind in _DTYPES and not external and 0 <= count <= largest
    return name, Constant(tuple(shape), _content(shape, kind, raw, listed) if known else None)


def _content(shape: Sequence[int], kind: int, raw: memoryview | None, listed: Sequence[tuple[int, Value]]) -> Array:
    dtype = np.dtype(_DTYPES[kind])
    try:
        if raw is not None:
            return np.frombuffer(bytes(raw), dtype.newbyteorder("<")).astype(dtype).reshape(shape)
        numbers: list[Any] = []
        for key, value in listed:
            if key in (4, 10):
                numbers += packed_fixed(value, "f" if key == 4 else "d")
            else:
                numbers += packed(value)
        if kind == 10:
            return np.array(numbers, np.uint16).view(np.float16).reshape(shape)
        return np.array(numbers).astype(dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise WireError("a constant has another number of elements than its shape says") from error


def _sparse_tensor(message: memoryview) -> tuple[str, Constant]:
    name = ""
    shape: list[int] = []
    for key, value in fields(message):
        if key == 1:
            name = _tensor(view(value))[0]
        elif key == 3:
            shape += packed(value)
    return name, Constant(tuple(shape), None)


def _value_info(message: memoryview) -> tuple[str, Sequence[int | str | None]]:
    """Name and dimensions; none where it is no tensor, or of unknown rank."""
    name = ""
    dimensions: list[int | str | None] = []
    for key, value in fields(message):
        if key == 1:
            name = text(value)
        elif key == 2:
            for kind, tensor in fields(view(value)):
                if kind == 1:
                    dimensions += _dimensions(view(tensor))
    return name, dimensions


def _dimensions(tensor: memoryview) -> list[int | str | None]:
    found: list[int | str | None] = []
    for key, value in fields(tensor):
        if key != 2:
            continue
        for _, dimension in fields(view(value)):
            size: int | str | None = None
            for kind, content in fields(view(dimension)):
                if kind == 1:
                    size = number(content)
                elif kind == 2:
                    size = text(content) or None
            found.append(size)
    return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
