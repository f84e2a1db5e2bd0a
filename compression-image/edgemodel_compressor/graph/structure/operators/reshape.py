"""Reshape and Flatten: dimensions that merge and split.

A reshape is cut into blocks of neighbouring dimensions with equally many elements, (2, 12, 48) → (2, 12, 6, 8) into
2 → 2, 12 → 12 and 48 → 6·8. Within a block one dimension on each side can shrink: its positions then stand for runs on
the other side, a head for eight columns, a channel for its H·W pixels. The others stay whole. Which one it is, a first
walk finds out (``Walk.offer``): the outermost of which anything may go, so that heads go and not the width of all.
"""

from math import prod

import numpy as np
from onnx import NodeProto

from edgemodel_compressor.graph.structure.labels import Axis
from edgemodel_compressor.graph.structure.walk import Axes, Opaque, Walk, attribute, title


def reshape(walk: Walk, node: NodeProto) -> None:
    """Reshape, and Flatten as one to two dimensions."""
    source, target = walk.axes[node.input[0]], walk.shapes[node.output[0]]
    result: dict[int, Axis] = {}
    for number, (old, new) in enumerate(blocks(tuple(map(len, source)), target)):
        merged = _merge(walk, node, f"{node.output[0]}/{number}/from", [source[index] for index in old])
        parts = _split(walk, node, f"{node.output[0]}/{number}/to", merged, tuple(target[index] for index in new))
        result |= dict(zip(new, parts, strict=True))
    single = walk.labels.fixed(1, f"{title(node)} adds it.")
    axes = tuple(result.get(index, single) for index in range(len(target)))
    if node.op_type == "Reshape":
        _check_target(walk, node, axes)
    walk.give(node.output[0], axes)
    if node.input[0] in walk.plain:
        walk.plain.add(node.output[0])


def flatten(walk: Walk, node: NodeProto) -> None:
    """Flatten to (before the axis, from it on)."""
    axis = attribute(node, "axis", 1)
    shape = walk.shapes[node.input[0]]
    cut = axis % len(shape) if axis < 0 else axis
    if (prod(shape[:cut]), prod(shape[cut:])) != walk.shapes[node.output[0]]:
        raise Opaque(f"The shape of {title(node)} is not what its input says.")
    reshape(walk, node)


def blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of dimensions with as many elements on both sides; dimensions of size 1 belong to none.

    >>> blocks((2, 12, 48), (2, 12, 6, 8))
    [([0], [0]), ([1], [1]), ([2], [2, 3])]

    Raises:
        Opaque: the sizes differ, or are zero.
    """
    left = [index for index, size in enumerate(old) if size != 1]
    right = [index for index, size in enumerate(new) if size != 1]
    if prod(old) != prod(new) or not prod(old):
        raise Opaque(f"A reshape from {list(old)} to {list(new)} does not keep the number of elements.")
    result = []
    while left or right:
        ours, theirs = [left.pop(0)], [right.pop(0)]
        while (here := prod(old[i] for i in ours)) != (there := prod(new[i] for i in theirs)):
            if here < there:
                ours.append(left.pop(0))
            else:
                theirs.append(right.pop(0))
        result.append((ours, theirs))
    return result


def _merge(walk: Walk, node: NodeProto, key: str, axes: list[Axis]) -> Axis:
    """One dimension instead of several: each position has the label of the one that may shrink."""
    shape = tuple(map(len, axes))
    if all((axis < 0).all() for axis in axes):
        return axes[0][:1].repeat(prod(shape))
    choice = walk.offer(key, axes)
    if choice is None:
        return walk.labels.fresh(prod(shape))
    for index, axis in enumerate(axes):
        if index != choice:
            walk.labels.pin(axis, f"{title(node)} folds it into another dimension.")
    return axes[choice][_coordinates(shape, choice)]


def _split(walk: Walk, node: NodeProto, key: str, merged: Axis, shape: tuple[int, ...]) -> Axes:
    """Several dimensions instead of one: what goes from the one that may shrink goes as a run."""
    if len(shape) == 1:
        return (merged,)
    if (merged < 0).all():
        return tuple(merged[:1].repeat(size) for size in shape)
    candidates = [walk.labels.fresh(size) for size in shape]
    choice = walk.offer(key, candidates)
    if choice is None:
        return tuple(candidates)
    owner = _coordinates(shape, choice)
    _, first = np.unique(owner, return_index=True)
    walk.labels.unite(merged, merged[first][owner])
    reason = f"{title(node)} takes it out of another dimension, of which it goes in runs."
    return tuple(
        merged[first] if index == choice else walk.labels.fixed(size, reason) for index, size in enumerate(shape)
    )


def _coordinates(shape: tuple[int, ...], axis: int) -> Axis:
    """For every element of ``shape``, flat, its coordinate along ``axis``."""
    return np.unravel_index(np.arange(prod(shape)), shape)[axis].astype(np.int64)


def _check_target(walk: Walk, node: NodeProto, axes: Axes) -> None:
    """What the target says of each dimension must still hold, or be mendable, when it shrinks.

    A number can be mended; -1, 0 and the size of the very same dimension hold by themselves. The size of a dimension
    that stays whole because weights have it is as good as a number.
    """
    sizes = walk.sizes.get(node.input[1], [None] * len(axes))
    numbers: dict[int, int] = {}
    for index, (axis, size) in enumerate(zip(axes, sizes, strict=True)):
        if isinstance(size, int) and size == 0:
            walk.labels.unite(axis, walk.axes[node.input[0]][index])
        elif size is None:
            walk.labels.pin(axis, f"{title(node)} takes its size from a computation.")
        elif isinstance(size, np.ndarray):
            if (size >= 0).all() and (walk.labels.roots(size) < 0).all():
                numbers[index] = len(size)
            elif len(size) == len(axis):
                walk.labels.unite(size, axis)
            else:
                walk.labels.pin(size, f"{title(node)} makes another size of it.")
                walk.labels.pin(axis, f"{title(node)} takes its size from another dimension.")
    walk.targets[node.output[0]] = [numbers.get(index, size) for index, size in enumerate(sizes)]
