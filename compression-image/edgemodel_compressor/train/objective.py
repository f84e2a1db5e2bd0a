"""What a training minimizes: the loss against labels, float targets, or what the original answers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.errors import NotApplicableError

Loss = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Outputs and targets of a batch, to the mean over its samples."""


def scores_name(graph: GraphProto, output: str) -> str:
    """The tensor of unnormalized class scores: ``output``, or where that is a softmax, its input."""
    for node in graph.node:
        if output in node.output and node.op_type in ("Softmax", "LogSoftmax"):
            return str(node.input[0])
    return output


def float_outputs(graph: GraphProto) -> list[str]:
    """The outputs that a squared error can be taken of.

    Raises:
        NotApplicableError: there is none.
    """
    floats = {TensorProto.FLOAT, TensorProto.DOUBLE}
    names = [output.name for output in graph.output if output.type.tensor_type.elem_type in floats]
    if not names:
        raise NotApplicableError("none of its outputs is a float tensor that could be trained")
    return names


def class_axis(scores: Sequence[int], labels: NDArray[Any] | None) -> int | None:
    """The axis of classes in outputs of shape ``scores``, samples first; None where they are no class scores.

    Integer ``labels`` tell it: they have every other axis. Without them, a list of two or more numbers per sample is
    taken for class scores, as in the evaluation.
    """
    rank = len(scores)
    if labels is None:
        return 1 if rank == 2 and scores[1] > 1 else None
    if labels.dtype.kind not in "iu":
        return None
    positions = tuple(labels.shape[1:])
    for axis in (rank - 1, 1):
        others = tuple(size for at, size in enumerate(scores) if at not in (0, axis))
        if 0 < axis < rank and scores[axis] > 1 and others == positions:
            return axis
    return None


def cross_entropy(axis: int) -> Loss:
    """Of scores against integer labels."""
    return lambda outputs, targets: functional.cross_entropy(outputs[0].movedim(axis, 1), targets[0])


def divergence(axis: int, temperature: float) -> Loss:
    """Kullback-Leibler divergence of softened class scores, times the squared temperature (Hinton et al., 2015)."""

    def loss(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        ours = torch.log_softmax(outputs[0].movedim(axis, -1).flatten(0, -2) / temperature, -1)
        theirs = torch.log_softmax(targets[0].movedim(axis, -1).flatten(0, -2) / temperature, -1)
        return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2

    return loss


def squared_error(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The mean over all elements, and over all outputs."""
    errors = [functional.mse_loss(ours, theirs) for ours, theirs in zip(outputs, targets, strict=True)]
    return torch.stack(errors).mean()
