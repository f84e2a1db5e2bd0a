"""Operators with weights: what they sum over is united with the weight that it is multiplied with."""

import numpy as np
from onnx import NodeProto

from edgemodel_compressor.graph.structure.labels import Axis
from edgemodel_compressor.graph.structure.operators.elementwise import broadcast_axes
from edgemodel_compressor.graph.structure.walk import Opaque, Walk, attribute, text, title

POOLS = ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")


def convolution(walk: Walk, node: NodeProto) -> None:
    """Conv: weight (O, I/g, …). Of a grouped convolution, depthwise ones among them, whole groups go."""
    data, weight = walk.axes[node.input[0]], walk.axes[node.input[1]]
    _need_weight(walk, node, 1)
    groups = attribute(node, "group", 1)
    if groups == 1:
        walk.labels.unite(data[1], weight[1])
    else:
        _unite_groups(walk, groups, data[1], weight[0])
        walk.labels.pin(weight[1], f"{title(node)} has equal groups.")
    _finish_convolution(walk, node, weight[0])


def transposed_convolution(walk: Walk, node: NodeProto) -> None:
    """ConvTranspose: weight (I, O/g, …)."""
    data, weight = walk.axes[node.input[0]], walk.axes[node.input[1]]
    _need_weight(walk, node, 1)
    groups = attribute(node, "group", 1)
    walk.labels.unite(data[1], weight[0])
    if groups == 1:
        channels = weight[1]
    else:
        walk.labels.pin(weight[1], f"{title(node)} has equal groups.")
        channels = np.repeat(weight[0].reshape(groups, -1)[:, 0], len(weight[1]))
        _unite_groups(walk, groups, data[1], channels)
    _finish_convolution(walk, node, channels)


def _unite_groups(walk: Walk, groups: int, inputs: Axis, outputs: Axis) -> None:
    first = inputs.reshape(groups, -1)[:, :1]
    for axis in (inputs, outputs):
        members = axis.reshape(groups, -1)
        walk.labels.unite(np.broadcast_to(first, members.shape).reshape(-1), axis)


def _finish_convolution(walk: Walk, node: NodeProto, channels: Axis) -> None:
    if len(node.input) > 2 and node.input[2]:
        walk.labels.unite(walk.axes[node.input[2]][0], channels)
    spatial(walk, node, channels)


def spatial(walk: Walk, node: NodeProto, channels: Axis | None = None) -> None:
    """Samples and channels pass; height, width and the like are new positions, none of which can go."""
    data = walk.axes[node.input[0]]
    reason = f"It is a position in space, of {title(node)}, and not a channel."
    for axis in (*data[2:], *(axis for name in node.input[1:2] for axis in walk.axes[name][2:])):
        walk.labels.pin(axis, reason)
    places = [walk.labels.fixed(size, reason) for size in walk.shapes[node.output[0]][2:]]
    walk.give(node.output[0], [data[0], data[1] if channels is None else channels, *places])


def pool(walk: Walk, node: NodeProto) -> None:
    """Each channel by itself."""
    if len(node.output) > 1 and node.output[1]:
        raise Opaque(f"{title(node)} returns where its maxima were.")
    spatial(walk, node)


def channel_norm(walk: Walk, node: NodeProto) -> None:
    """BatchNormalization, InstanceNormalization: each channel by itself, with one entry in every parameter."""
    if attribute(node, "training_mode", 0) or sum(map(bool, node.output)) > 1:
        raise Opaque(f"{title(node)} is in training mode; export the model in evaluation mode.")
    data = walk.axes[node.input[0]]
    for name in node.input[1:]:
        walk.labels.unite(data[1], walk.axes[name][0])
    if node.op_type == "InstanceNormalization":
        spatial(walk, node)
    else:
        walk.give(node.output[0], data)


def group_norm(walk: Walk, node: NodeProto) -> None:
    """GroupNormalization: whole groups of channels go, with an entry of every parameter for each channel."""
    data = walk.axes[node.input[0]]
    _unite_groups(walk, attribute(node, "num_groups", 0), data[1], data[1])
    for name in node.input[1:]:
        walk.labels.unite(data[1], walk.axes[name][0])
    spatial(walk, node)


def depth_to_space(walk: Walk, node: NodeProto) -> None:
    """DepthToSpace, a PixelShuffle: the channels that become one go together."""
    data = walk.axes[node.input[0]]
    tile = attribute(node, "blocksize", 1) ** 2
    crd = text(node, "mode", "DCR") == "CRD"
    members = data[1].reshape(-1, tile) if crd else data[1].reshape(tile, -1).T
    walk.labels.unite(np.repeat(members[:, 0], tile), members.reshape(-1))
    spatial(walk, node, members[:, 0])


def space_to_depth(walk: Walk, node: NodeProto) -> None:
    """SpaceToDepth: a channel becomes several, which lie as far apart as there are channels."""
    data = walk.axes[node.input[0]]
    spatial(walk, node, np.tile(data[1], attribute(node, "blocksize", 1) ** 2))


def gemm(walk: Walk, node: NodeProto) -> None:
    """Gemm: α·A·B + β·C, A and B transposed or not."""
    first, second = walk.axes[node.input[0]], walk.axes[node.input[1]]
    rows, inner = reversed(first) if attribute(node, "transA", 0) else first
    depth, columns = reversed(second) if attribute(node, "transB", 0) else second
    _contract(walk, node, inner, depth)
    result = [rows, columns]
    if len(node.input) > 2 and node.input[2]:
        result = broadcast_axes(walk, [tuple(result), walk.axes[node.input[2]]])
    walk.give(node.output[0], result)


def matmul(walk: Walk, node: NodeProto) -> None:
    """MatMul: the last two dimensions multiply, those before broadcast."""
    first, second = walk.axes[node.input[0]], walk.axes[node.input[1]]
    if len(first) < 2 or len(second) < 2:
        raise Opaque(f"{title(node)} multiplies with a vector.")
    _contract(walk, node, first[-1], second[-2])
    batch = broadcast_axes(walk, [first[:-2], second[:-2]]) if len(first) + len(second) > 4 else []
    walk.give(node.output[0], [*batch, first[-2], second[-1]])


def attention(walk: Walk, node: NodeProto) -> None:
    """Attention on (batch, heads, tokens, width): heads by themselves, and the width of values passes."""
    names = list(node.input)
    query, key, value = (walk.axes[name] for name in names[:3])
    outputs = sum(map(bool, node.output))
    if len(query) != 4 or outputs > 1 or any(names[4:]) or len(query[1]) != len(key[1]):
        raise Opaque(f"{title(node)} has no plain heads: it is packed, grouped or cached.")
    for axis in (query[3], key[3], query[2], key[2], value[2]):
        walk.labels.pin(axis, f"{title(node)} (Attention) computes with all of its positions together.")
    for side in (key, value):
        broadcast_axes(walk, [query[:2], side[:2]])
    if len(names) > 3 and names[3]:
        broadcast_axes(walk, [(query[0], query[1], query[2], key[2]), walk.axes[names[3]]])
    walk.give(node.output[0], [query[0], query[1], query[2], value[3]])


def _contract(walk: Walk, node: NodeProto, first: Axis, second: Axis) -> None:
    """A sum of products loses a term for nothing only where a weight makes it zero."""
    walk.labels.unite(first, second)
    if node.input[0] not in walk.plain and node.input[1] not in walk.plain:
        walk.labels.pin(first, f"{title(node)} sums over it without a weight.")


def _need_weight(walk: Walk, node: NodeProto, position: int) -> None:
    if node.input[position] not in walk.plain:
        raise Opaque(f"The kernel of {title(node)} is computed while the model runs.")
