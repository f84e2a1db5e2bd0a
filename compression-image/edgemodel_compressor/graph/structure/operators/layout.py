"""Operators that move, cut and join dimensions."""

import numpy as np
from onnx import NodeProto

from edgemodel_compressor.graph.structure.operators.elementwise import broadcast_axes
from edgemodel_compressor.graph.structure.walk import Cut, Opaque, Walk, attribute, attributes, text, title


def transpose(walk: Walk, node: NodeProto) -> None:
    """Dimensions in another order."""
    axes = walk.axes[node.input[0]]
    order = attributes(node, "perm") or list(reversed(range(len(axes))))
    walk.give(node.output[0], [axes[index] for index in order])
    _still_plain(walk, node)


def squeeze(walk: Walk, node: NodeProto) -> None:
    """Dimensions of one position go, and so cannot lose it."""
    axes = walk.axes[node.input[0]]
    given = attributes(node, "axes") or walk.integers(node, 1)
    gone = {index % len(axes) for index in given} if given else {i for i, axis in enumerate(axes) if len(axis) == 1}
    for index in gone:
        walk.labels.pin(axes[index], f"{title(node)} needs its single position.")
    walk.give(node.output[0], [axis for index, axis in enumerate(axes) if index not in gone])
    _still_plain(walk, node)


def unsqueeze(walk: Walk, node: NodeProto) -> None:
    """New dimensions of one position."""
    rank = len(walk.shapes[node.output[0]])
    new = {index % rank for index in attributes(node, "axes") or walk.integers(node, 1) or []}
    old = iter(walk.axes[node.input[0]])
    single = walk.labels.fixed(1, f"{title(node)} adds it.")
    walk.give(node.output[0], [single if index in new else next(old) for index in range(rank)])
    _still_plain(walk, node)


def concat(walk: Walk, node: NodeProto) -> None:
    """Labels end to end; across it the sides are united."""
    sides = [walk.axes[name] for name in node.input]
    along = attribute(node, "axis", 0) % len(sides[0])
    result = []
    for index, first in enumerate(sides[0]):
        if index == along:
            result.append(np.concatenate([side[index] for side in sides]))
            continue
        for side in sides[1:]:
            walk.labels.unite(first, side[index])
        result.append(first)
    walk.give(node.output[0], result)


def split(walk: Walk, node: NodeProto) -> None:
    """Each output has its section of the labels."""
    axes = walk.axes[node.input[0]]
    along = attribute(node, "axis", 0) % len(axes)
    walk.integers(node, 1)
    start = 0
    for name in node.output:
        size = walk.shapes[name][along]
        walk.give(name, [*axes[:along], axes[along][start : start + size], *axes[along + 1 :]])
        start += size


def cut(walk: Walk, node: NodeProto) -> None:
    """Slice: of the dimensions that are cut the labels in between, where every position is taken."""
    axes = list(walk.axes[node.input[0]])
    walk.cuts[node.output[0]] = cuts(walk, node)
    for part in walk.cuts[node.output[0]]:
        axes[part.axis] = axes[part.axis][slice(*part.actual)]
    walk.give(node.output[0], axes)


def cuts(walk: Walk, node: NodeProto) -> list[Cut]:
    """The dimensions that a Slice cuts.

    Raises:
        Opaque: its bounds are not in the file, or it takes steps.
    """
    shape = walk.shapes[node.input[0]]
    if walk.opset < 10:
        starts, stops = attributes(node, "starts"), attributes(node, "ends")
        given, steps = attributes(node, "axes"), None
    else:
        starts, stops, given, steps = (walk.integers(node, position) for position in (1, 2, 3, 4))
    if starts is None or stops is None or any(step != 1 for step in steps or []):
        raise Opaque(f"{title(node)} takes steps other than 1.")
    result = []
    for index, start, stop in zip(given or range(len(starts)), starts, stops, strict=True):
        first, last, _ = slice(start, stop).indices(shape[index])
        result.append(Cut(index % len(shape), (start, stop), (first, max(first, last))))
    return result


def gather(walk: Walk, node: NodeProto) -> None:
    """Gather: the dimension that is looked up in stays whole, as in an embedding."""
    data, indices = walk.axes[node.input[0]], walk.axes[node.input[1]]
    along = attribute(node, "axis", 0) % len(data)
    walk.labels.pin(data[along], f"{title(node)} looks entries up in it by number.")
    walk.give(node.output[0], [*data[:along], *indices, *data[along + 1 :]])


def pad(walk: Walk, node: NodeProto) -> None:
    """Dimensions that get nothing pass; the others stay whole."""
    axes = walk.axes[node.input[0]]
    amounts = attributes(node, "pads") or walk.integers(node, 1) or []
    given = walk.integers(node, 3) or list(range(len(axes)))
    padded = {index % len(axes) for i, index in enumerate(given) if amounts[i] or amounts[len(given) + i]}
    reason = f"{title(node)} pads it."
    result = []
    for index, axis in enumerate(axes):
        if index in padded:
            walk.labels.pin(axis, reason)
            axis = walk.labels.fixed(walk.shapes[node.output[0]][index], reason)
        result.append(axis)
    walk.give(node.output[0], result)


def resize(walk: Walk, node: NodeProto) -> None:
    """Resize, Upsample: dimensions that keep their size pass."""
    if text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize" or attributes(node, "axes"):
        raise Opaque(f"{title(node)} resizes a part of its input.")
    axes = walk.axes[node.input[0]]
    reason = f"{title(node)} resizes it."
    result = []
    for axis, size in zip(axes, walk.shapes[node.output[0]], strict=True):
        if len(axis) == size:
            result.append(axis)
            continue
        walk.labels.pin(axis, reason)
        result.append(walk.labels.fixed(size, reason))
    for name in node.input[1:]:
        for axis in walk.axes.get(name, ()):
            walk.labels.pin(axis, f"{title(node)} reads how to resize from it.")
    _check_sizes(walk, node, 3)
    walk.give(node.output[0], result)


def expand(walk: Walk, node: NodeProto) -> None:
    """Expand: as broadcasting with a tensor of the shape that is given."""
    _check_sizes(walk, node, 1)
    single = walk.labels.fixed(1, f"{title(node)} sets its size.")
    target = tuple(size if isinstance(size, np.ndarray) else single for size in walk.sizes[node.input[1]])
    result = broadcast_axes(walk, [walk.axes[node.input[0]], target])
    shape = walk.shapes[node.output[0]]
    reason = f"{title(node)} repeats one position."
    walk.give(
        node.output[0],
        [
            axis if len(axis) == size else walk.labels.fixed(size, reason)
            for axis, size in zip(result, shape, strict=True)
        ],
    )
    if walk.is_zero(node.input[0]):
        walk.zeros.add(node.output[0])


def filled(walk: Walk, node: NodeProto) -> None:
    """ConstantOfShape: dimensions of the sizes it is given."""
    _check_sizes(walk, node, 0)
    reason = f"{title(node)} fills it."
    walk.give(
        node.output[0],
        [
            size if isinstance(size, np.ndarray) else walk.labels.fixed(number, reason)
            for size, number in zip(walk.sizes[node.input[0]], walk.shapes[node.output[0]], strict=True)
        ],
    )


def _check_sizes(walk: Walk, node: NodeProto, position: int) -> None:
    if position < len(node.input) and node.input[position]:
        sizes = walk.sizes.get(node.input[position], [None])
        if any(size is None for size in sizes):
            raise Opaque(f"{title(node)} takes sizes that are computed while the model runs.")
        walk.targets[node.output[0]] = sizes


def _still_plain(walk: Walk, node: NodeProto) -> None:
    if node.input[0] in walk.plain:
        walk.plain.add(node.output[0])
