"""A valid inference request for a model: what the page's form starts with, and the API's description shows."""

import math
from typing import Any

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import TensorSpec
from edgemodel_server.protocol.datatypes import FLOATS

OPEN_SIDE = 32
"""Size given to the open dimensions of an image; other open dimensions get one element."""


def example_shape(spec: TensorSpec) -> list[int]:
    """A shape that ``spec`` allows, of batch 1 where the batch is open."""
    is_image = len(spec.shape) == 4
    return [
        size if size >= 0 else (OPEN_SIDE if is_image and position else 1) for position, size in enumerate(spec.shape)
    ]


def example_input(spec: TensorSpec, *, limit: int | None = None) -> dict[str, Any]:
    """One entry of ``inputs``; at most ``limit`` elements, which makes a large tensor a fragment."""
    shape = example_shape(spec)
    count = math.prod(shape)
    return {
        "name": spec.name,
        "shape": shape,
        "datatype": spec.datatype,
        "data": [_element(spec, index) for index in range(count if limit is None else min(count, limit))],
    }


def example_request(card: ModelCard) -> dict[str, Any]:
    """A whole request with every input of the model. Integers are zero: other values may be out of a vocabulary."""
    return {"inputs": [example_input(spec) for spec in card.inputs]}


def _element(spec: TensorSpec, index: int) -> bool | int | float | str:
    if spec.datatype == "BOOL":
        return index % 2 == 0
    if spec.datatype == "BYTES":
        return "text"
    return index % 10 / 10 if spec.datatype in FLOATS or spec.datatype == "BF16" else 0
