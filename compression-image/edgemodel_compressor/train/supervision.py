"""Where the targets of a training come from, and which loss goes with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.train.batches import batched
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.objective import (
    Loss,
    class_axis,
    cross_entropy,
    divergence,
    float_outputs,
    scores_name,
    squared_error,
)

Teacher = Path | onnx.ModelProto
Targets = Callable[[Tensor], Sequence[Tensor]]
"""Indices of samples (batch,) to what the outputs should be."""

SCORES, OUTPUTS = slice(0, 1), slice(1, None)
"""Where ``observe`` puts the class scores, and the outputs as they are."""
FIRST = slice(1, 2)

_CACHE_BYTES = 256 * 2**20
"""Up to so much, a teacher's answers are kept; beyond, they are asked for again in every epoch."""


@dataclass(frozen=True)
class Supervision:
    """A loss, the outputs it is taken of, and their targets."""

    loss: Loss
    outputs: slice
    targets: Targets

    def __call__(self, outputs: Sequence[Tensor], indices: Tensor) -> Tensor:
        """The mean loss of ``outputs``, which belong to the samples at ``indices``."""
        return self.loss(outputs[self.outputs], self.targets(indices))


def observe(proto: onnx.ModelProto) -> GraphModule:
    """``proto`` with the outputs that losses are taken of: the class scores, then every float output.

    Raises:
        NotApplicableError: it has no float output, an operator that cannot be trained, or a fixed batch of several.
    """
    for value in proto.graph.input:
        batch = value.type.tensor_type.shape.dim[0].dim_value if value.type.tensor_type.shape.dim else 1
        if batch > 1:
            raise NotApplicableError(f"its input {value.name!r} has a fixed batch of {batch}, not of 1 or an open one")
    outputs = float_outputs(proto.graph)
    return GraphModule(proto, [scores_name(proto.graph, outputs[0]), *outputs])


def by_labels(outputs: Sequence[Tensor], labels: NDArray[Any]) -> Supervision:
    """Cross-entropy for integer ``labels``, squared error of the first output for float ones.

    ``outputs`` of some samples, as ``observe`` orders them, tell the shapes.

    Raises:
        NotApplicableError: the outputs are no class scores, or no numbers, for such labels.
        ValueError: a label is out of range.
    """
    scores = outputs[0]
    if labels.dtype.kind not in "iu":
        shape = (len(labels), *outputs[1].shape[1:])
        if labels.size != np.prod(shape):
            raise NotApplicableError(
                f"its first output has the shape {_per_sample(outputs[1])} per sample, and its float labels "
                f"{list(labels.shape[1:])}"
            )
        values = torch.from_numpy(labels.reshape(shape)).to(outputs[1].dtype)
        return Supervision(squared_error, FIRST, lambda indices: [values[indices]])
    axis = class_axis(scores.shape, labels)
    if axis is None:
        raise NotApplicableError(
            f"its first output, of shape {_per_sample(scores)} per sample, is no class scores for integer labels of "
            f"shape {list(labels.shape[1:])}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= scores.shape[axis]:
        raise ValueError(f"labels run from {low} to {high}, but there are {scores.shape[axis]} classes")
    classes = torch.from_numpy(labels.astype(np.int64))
    return Supervision(cross_entropy(axis), SCORES, lambda indices: [classes[indices]])


def by_teacher(
    outputs: Sequence[Tensor],
    labels: NDArray[Any] | None,
    teacher: Teacher,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    batch: int,
    temperature: float,
) -> Supervision:
    """Distillation: divergence of class scores, else squared error of all outputs, from the answers of ``teacher``.

    ``inputs`` are the samples of the inputs ``names``. ``labels`` only tell whether the outputs are class scores.

    Raises:
        NotApplicableError: the teacher cannot be run in torch, or answers in another shape.
    """
    proto = onnx.load(teacher) if isinstance(teacher, Path) else teacher
    module = observe(proto).requires_grad_(False)
    ordered = [inputs[names.index(name)] for name in module.inputs]
    forward = batched(module, ordered)
    axis = class_axis(outputs[0].shape, labels)
    taken = OUTPUTS if axis is None else SCORES
    loss = squared_error if axis is None else divergence(axis, temperature)
    with torch.no_grad():
        first = forward([tensor[:batch] for tensor in ordered])[taken]
    shapes = [_per_sample(output) for output in first], [_per_sample(output) for output in outputs[taken]]
    if shapes[0] != shapes[1]:
        raise NotApplicableError(f"the original answers in shapes {shapes[0]}, and it in {shapes[1]}")
    size = sum(output.nbytes for output in first) * len(ordered[0]) // len(first[0])

    def ask(indices: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            return forward([tensor[indices] for tensor in ordered])[taken]

    targets = _remembering(ask, len(ordered[0]), batch) if size <= _CACHE_BYTES else ask
    return Supervision(loss, taken, targets)


def _remembering(ask: Targets, samples: int, batch: int) -> Targets:
    """``ask`` once for all."""
    parts = [ask(indices) for indices in torch.split(torch.arange(samples), batch)]
    answers = [torch.cat(part) for part in zip(*parts, strict=True)]
    return lambda indices: [answer[indices] for answer in answers]


def _per_sample(output: Tensor) -> list[int]:
    return list(output.shape[1:])
