"""Weights in blocks of 4 or 8 bits, each block with a scale of its own; activations stay float in the graph.

``MatMulNBits`` and ``GatherBlockQuantized`` of the com.microsoft domain. With accuracy level 4 the runtime quantizes
the rows of the other factor while running and multiplies integers: several times faster than widening the weights.
A table that words are looked up in and that scores them is stored once, as the product reads it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.quantization.operators import DOMAIN
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.quantization.tied import twins
from edgemodel_compressor.graph.tidy import drop_unused

BLOCK = {4: 32, 8: 128}
"""Weights per scale: small where a step is coarse."""
_SMALLEST_BLOCK = 16
_INTEGER_ARITHMETIC = 4

Floats = NDArray[np.float32]


def weight_only(model: onnx.ModelProto, recipe: QuantizationRecipe) -> int:
    """Quantize the constant factors of MatMul and Gemm and the tables of Gather in ``model``, in place.

    Returns how many nodes have one.
    """
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    packed = 0
    made: dict[tuple[str, bool], list[str]] = {}
    tied = _tied(model)
    for node in graph.node:
        replacement = None if node.name in recipe.excluded else _replace(model, node, known, recipe.bits, made, tied)
        packed += replacement is not None
        nodes += replacement or [node]
    if not packed:
        return 0
    del graph.node[:]
    graph.node.extend(nodes)
    if all(item.domain != DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    drop_unused(model)
    return packed


def _replace(
    model: onnx.ModelProto,
    node: NodeProto,
    known: Mapping[str, TensorProto],
    bits: int,
    made: dict[tuple[str, bool], list[str]],
    tied: Mapping[str, str],
) -> list[NodeProto] | None:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    position = 0 if node.op_type == "Gather" else 1
    if node.op_type not in ("Gather", "Gemm", "MatMul") or node.input[position] not in known:
        return None
    tensor = known[node.input[position]]
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2 or min(tensor.dims) < _SMALLEST_BLOCK // 2:
        return None
    if node.op_type == "Gather":
        return _gather(model, node, tensor, attributes.get("axis", 0), bits, made, tied)
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        return None
    # (K, N) for MatMul; blocks run along K, so it is stored the other way round.
    transposed = bool(attributes.get("transB", 0))
    # A table that products read as it is, turned, is no twin of itself.
    if not transposed and tied.get(tensor.name, tensor.name) != tensor.name:
        tensor, transposed = known[tied[tensor.name]], True
    columns, rows = tensor.dims if transposed else reversed(tensor.dims)
    block = _block(rows, bits)
    names = _factor(model, tensor, transposed, bits, made)
    has_bias = node.op_type == "Gemm" and len(node.input) > 2 and bool(node.input[2])
    product = f"{node.output[0]}_product" if has_bias else node.output[0]
    nodes = [
        helper.make_node(
            "MatMulNBits",
            [node.input[0], *names],
            [product],
            name=node.name,
            domain=DOMAIN,
            K=rows,
            N=columns,
            bits=bits,
            block_size=block,
            accuracy_level=_INTEGER_ARITHMETIC,
        )
    ]
    if has_bias:
        nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_bias"))
    return nodes


def _tied(model: onnx.ModelProto) -> dict[str, str]:
    """Weights that are a table of ``model`` turned, or the table itself where a product reads that, by the table."""
    turned = {weight: table for table, weight in twins(model).items()}
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    read = {node.input[1] for node in model.graph.node if node.op_type == "Gemm" and _turns(node)}
    return turned | {name: name for name in looked_up & read}


def _turns(gemm: NodeProto) -> bool:
    return any(item.name == "transB" and item.i for item in gemm.attribute)


def _factor(
    model: onnx.ModelProto, tensor: TensorProto, transposed: bool, bits: int, made: dict[tuple[str, bool], list[str]]
) -> list[str]:
    """The names of the integers (N, blocks, block) and scales (N · blocks,) of ``tensor`` as a product reads them."""
    names = made.get((tensor.name, transposed))
    if names is None:
        values = numpy_helper.to_array(tensor)
        rows = values if transposed else values.T
        integers, scales = quantize_blocks(rows, bits, _block(rows.shape[1], bits))
        name = tensor.name if transposed else f"{tensor.name}_columns"
        names = _add(model, name, {"": pack(integers, bits), "_scales": scales.ravel()}, bits)
        made[tensor.name, transposed] = names
    return names


def _gather(
    model: onnx.ModelProto,
    node: NodeProto,
    tensor: TensorProto,
    axis: int,
    bits: int,
    made: dict[tuple[str, bool], list[str]],
    tied: Mapping[str, str],
) -> list[NodeProto] | None:
    width = tensor.dims[1]
    block = _block(width, bits)
    if axis != 0 or width % block:
        return None
    shaped: list[NodeProto] = []
    names = made.get((f"{tensor.name}_rows", True))
    if names is None and tensor.name in tied.values():
        # Shaped while the model is loaded.
        stored = _factor(model, tensor, True, bits, made)
        names = [f"{name}_rows" for name in stored]
        shape = f"{tensor.name}_rows_shape"
        model.graph.initializer.append(numpy_helper.from_array(np.array([tensor.dims[0], -1], np.int64), shape))
        shaped = [
            helper.make_node("Reshape", [source, shape], [name], name=name)
            for source, name in zip(stored, names, strict=True)
        ]
        made[f"{tensor.name}_rows", True] = names
    elif names is None:
        integers, scales = quantize_blocks(numpy_helper.to_array(tensor), bits, block)
        table = pack(integers, bits).reshape(tensor.dims[0], -1)
        names = _add(model, f"{tensor.name}_rows", {"": table, "_scales": scales}, bits)
        made[f"{tensor.name}_rows", True] = names
    return [
        *shaped,
        helper.make_node(
            "GatherBlockQuantized",
            [names[0], node.input[1], names[1]],
            [node.output[0]],
            name=node.name,
            domain=DOMAIN,
            gather_axis=0,
            quantize_axis=1,
            block_size=block,
            bits=bits,
        ),
    ]


def quantize_blocks(values: Floats, bits: int, block: int) -> tuple[NDArray[np.uint8], Floats]:
    """Integers (N, blocks, block) around 2^(bits-1), and scales (N, blocks), for ``values`` (N, K); K is padded.

    Symmetric, and the value of largest magnitude takes the most negative integer: one step more than its positive twin.
    """
    rows, length = values.shape
    blocks = -(-length // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :length] = values
    grouped = padded.reshape(rows, blocks, block)
    largest = np.take_along_axis(grouped, np.abs(grouped).argmax(axis=2, keepdims=True), axis=2)[:, :, 0]
    middle = 2 ** (bits - 1)
    scales = (largest / -middle).astype(np.float32)
    steps = np.divide(grouped, scales[:, :, None], out=np.zeros_like(grouped), where=scales[:, :, None] != 0)
    integers = np.clip(np.rint(steps) + middle, 0, 2 * middle - 1).astype(np.uint8)
    return integers, scales


def pack(integers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Two 4-bit integers per byte along the last axis, the first in the low half; 8-bit ones as they are."""
    if bits == 8:
        return integers
    return (integers[..., 0::2] | (integers[..., 1::2] << 4)).astype(np.uint8)


def _block(length: int, bits: int) -> int:
    """The block size, halved until no more than half a block of it would be padding."""
    block = BLOCK[bits]
    while block > _SMALLEST_BLOCK and -length % block:
        block //= 2
    return block


def _add(model: onnx.ModelProto, name: str, arrays: Mapping[str, NDArray[np.generic]], bits: int) -> list[str]:
    names: Sequence[str] = [f"{name}_q{bits}{suffix}" for suffix in arrays]
    for full, array in zip(names, arrays.values(), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), full))
    return list(names)
