"""Tensors out of nothing: constants, ranges, shapes."""

import torch
from torch import Tensor

from edgemodel_compressor.train.network.dtypes import ints, to_torch
from edgemodel_compressor.train.network.node import Build, Node, Run, plain


def _constant(node: Node) -> Run:
    attributes = node.attributes
    if "value" in attributes:
        value = to_torch(attributes["value"])
    elif "value_float" in attributes or "value_floats" in attributes:
        value = torch.tensor(attributes.get("value_float", attributes.get("value_floats")), dtype=torch.float32)
    elif "value_int" in attributes or "value_ints" in attributes:
        value = torch.tensor(attributes.get("value_int", attributes.get("value_ints")), dtype=torch.int64)
    else:
        raise node.refuse("its value is neither a dense tensor nor a number")
    return lambda: value


def _constant_of_shape(node: Node) -> Run:
    value = to_torch(node.attributes["value"]).reshape(()) if "value" in node.attributes else torch.zeros(())
    return lambda shape: value.expand(ints(shape))


def _shape(node: Node) -> Run:
    start, end = node.integer("start", 0), node.attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _one_hot(node: Node) -> Run:
    axis = node.integer("axis", -1)

    def run(indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        (classes,) = ints(depth)
        positions = torch.arange(classes)
        # An index that is out of range on either side is hot nowhere.
        hot = torch.where(indices < 0, indices + classes, indices).to(torch.int64).unsqueeze(-1) == positions
        encoded = torch.where(hot, values[1], values[0])
        return encoded.movedim(-1, axis)

    return run


OPERATORS: dict[str, Build] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "OneHot": _one_hot,
    "Range": plain(_range),
    "Shape": _shape,
    "Size": plain(_size),
}
