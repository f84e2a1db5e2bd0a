"""Mean gradients by weight: what the removal of a weight costs, to first order (Molchanov et al., 2019)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgemodel_compressor.train.batches import Arrays, as_tensors, batched
from edgemodel_compressor.train.objective import class_axis, squared_error
from edgemodel_compressor.train.supervision import OUTPUTS, Supervision, by_labels, observe
from edgemodel_compressor.train.threads import without_denormals

_BATCH = 16


@without_denormals()
def gradients(
    proto: onnx.ModelProto,
    inputs: Arrays,
    labels: NDArray[Any] | None,
    teacher_outputs: Sequence[NDArray[np.floating]] | None,
    samples: int,
    squared: bool = False,
) -> dict[str, NDArray[np.floating]]:
    """The gradient of the loss by every trained weight, by its name, the mean over ``samples`` of the ``inputs``.

    The loss is the recovery's where there are ``labels``. Else class scores are taken at their word: cross-entropy
    against the class that ``teacher_outputs`` (the float outputs of the graph, samples first) or the graph itself finds
    most likely, because the divergence of a model from itself has no gradient. Other outputs are compared with
    ``teacher_outputs`` by squared error; without them, with zero, so that the gradient says how much an output moves.

    ``squared`` gives the mean of squares over batches of 16 instead: gradients of a trained model cancel out.

    Raises:
        NotApplicableError: the graph cannot be run in torch, or its outputs do not fit the labels.
        ValueError: an input has no samples, a label is out of range.
    """
    module = observe(proto)
    tensors = as_tensors(module, inputs)
    count = min(samples, len(tensors[0]))
    # Spread over all, which may be sorted by class.
    chosen = np.linspace(0, len(tensors[0]) - 1, count).round().astype(np.int64)
    tensors = [tensor[torch.from_numpy(chosen)] for tensor in tensors]
    forward = batched(module, tensors)
    batches = torch.split(torch.arange(count), _BATCH)
    with torch.no_grad():
        parts = [forward([tensor[batch] for tensor in tensors]) for batch in batches]
        outputs = [torch.cat(part) for part in zip(*parts, strict=True)]
    references = None
    if teacher_outputs is not None:
        references = [torch.from_numpy(np.array(output[chosen])) for output in teacher_outputs]
    supervision = _supervise(outputs, None if labels is None else labels[chosen], references)
    sums = {name: torch.zeros_like(weight) for name, weight in module.weights.items()}
    for batch in batches:
        module.zero_grad()
        loss = supervision(forward([tensor[batch] for tensor in tensors]), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, weight in module.weights.items():
            if weight.grad is not None:
                sums[name] += (weight.grad**2 if squared else weight.grad) * (len(batch) / count)
    return {name: total.detach().numpy() for name, total in sums.items()}


def _supervise(
    outputs: Sequence[Tensor], labels: NDArray[Any] | None, references: Sequence[Tensor] | None
) -> Supervision:
    if labels is not None:
        return by_labels(outputs, labels)
    axis = class_axis(outputs[0].shape, None)
    if axis is not None:
        likely = (outputs if references is None else references)[0].argmax(axis)
        return by_labels(outputs, likely.numpy())
    targets = [torch.zeros_like(output) for output in outputs[OUTPUTS]] if references is None else list(references)
    return Supervision(squared_error, OUTPUTS, lambda indices: [target[indices] for target in targets])
