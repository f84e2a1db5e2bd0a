"""One node as its operator sees it: attributes with the defaults of the specification."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper
from torch import Tensor

from edgemodel_compressor.errors import NotApplicableError

Run = Callable[..., Tensor | tuple[Tensor, ...]]
"""Input tensors, None for those that are left out, to one tensor or one per output."""
Build = Callable[["Node"], Run]
"""Reads a node's attributes once and gives what is run in every pass."""


@dataclass(frozen=True)
class Node:
    """A node of a graph of operator set ``opset``."""

    name: str
    operator: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def integer(self, name: str, default: int) -> int:
        """The attribute ``name``, an integer."""
        return int(self.attributes.get(name, default))

    def flag(self, name: str, default: bool) -> bool:
        """The attribute ``name``, an integer that means yes or no."""
        return bool(self.attributes.get(name, default))

    def integers(self, name: str) -> list[int] | None:
        """The attribute ``name``, a list of integers; None where it is left out."""
        values: Sequence[int] | None = self.attributes.get(name)
        return None if values is None else [int(value) for value in values]

    def number(self, name: str, default: float) -> float:
        """The attribute ``name``, a float."""
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """The attribute ``name``, a string."""
        value: bytes | None = self.attributes.get(name)
        return default if value is None else value.decode()

    def texts(self, name: str) -> list[str] | None:
        """The attribute ``name``, a list of strings; None where it is left out."""
        values: Sequence[bytes] | None = self.attributes.get(name)
        return None if values is None else [value.decode() for value in values]

    def has_input(self, position: int) -> bool:
        """Whether the optional input at ``position`` is given."""
        return position < len(self.inputs) and bool(self.inputs[position])

    def has_output(self, position: int) -> bool:
        """Whether the optional output at ``position`` is asked for."""
        return position < len(self.outputs) and bool(self.outputs[position])

    def refuse(self, why: str) -> NotApplicableError:
        """What to raise where a form of the operator is not supported."""
        return NotApplicableError(f"its node {self.name!r} ({self.operator}) cannot be trained: {why}")


def read_node(proto: onnx.NodeProto, opset: int) -> Node:
    """``proto`` with decoded attributes; a nameless node goes by its first output."""
    return Node(
        name=proto.name or proto.output[0],
        operator=f"{proto.domain}.{proto.op_type}" if proto.domain not in ("", "ai.onnx") else proto.op_type,
        opset=opset,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={attribute.name: helper.get_attribute_value(attribute) for attribute in proto.attribute},
    )


def plain(function: Run) -> Build:
    """The operator is ``function`` itself, whatever the attributes."""
    return lambda _node: function
