"""Many samples at once, also through graphs that were exported for one.

A graph with an open batch dimension, and many with a fixed one, take a batch as it is. Others say the batch of one in
the constants of their reshapes: those are mapped over the samples by ``torch.func.vmap``, which lets every operator see
a batch of one and still calculates all samples at once. What neither does right is run sample by sample; the gradient
of a batch is then the same, only slower. Which way is right is not guessed but tried, against the samples one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgemodel_compressor.errors import NotApplicableError, first_line
from edgemodel_compressor.train.network.module import GraphModule

Arrays = Mapping[str, NDArray[Any]]
Forward = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Inputs with samples first, in the module's order, to outputs with samples first."""


@dataclass(frozen=True)
class Batched:
    """A way to run a module on many samples. ``together`` tells that every operator sees all of them."""

    forward: Forward
    together: bool

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As ``Forward``."""
        return self.forward(inputs)


_FAILURES = (RuntimeError, IndexError, ValueError, TypeError)
"""What torch raises where shapes or types do not fit."""
_PROBE = 3
_TOLERANCE = 1e-3
"""Of the largest value. A wrong way is wrong by far more; a right one differs by the order of its sums."""


def as_tensors(module: GraphModule, arrays: Arrays) -> list[Tensor]:
    """``arrays`` in the order of the module's inputs.

    Raises:
        ValueError: an input has no array, or their numbers of samples differ.
    """
    missing = [name for name in module.inputs if name not in arrays]
    if missing:
        raise ValueError(f"no samples for the model's input {missing[0]!r}")
    counts = {name: len(arrays[name]) for name in module.inputs}
    if len(set(counts.values())) > 1:
        raise ValueError(f"different numbers of samples: {counts}")
    return [torch.from_numpy(np.array(arrays[name])) for name in module.inputs]


def batched(module: GraphModule, samples: Sequence[Tensor]) -> Batched:
    """The fastest way to run ``module`` on many samples that gives what it gives for each alone.

    ``samples`` are for trying; the first few are used.

    Raises:
        NotApplicableError: torch cannot run it on them at all.
    """
    probe = [tensor[:_PROBE] for tensor in samples]
    with torch.no_grad():
        try:
            expected = _one_by_one(module)(probe)
        except _FAILURES as error:
            raise NotApplicableError(f"torch cannot run it on its samples: {first_line(error)}") from error
        for way in (Batched(_together(module), True), Batched(_mapped(module), False)):
            try:
                outputs = way(probe)
            except _FAILURES:
                # A reshape to a batch of one, or an operator that reads values of a sample: the next way, then.
                continue
            if all(map(_agree, outputs, expected)):
                return way
    return Batched(_one_by_one(module), False)


def _together(module: GraphModule) -> Forward:
    return lambda inputs: module(*inputs)


def _mapped(module: GraphModule) -> Forward:
    mapped = torch.func.vmap(module)

    def forward(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = mapped(*(tensor.unsqueeze(1) for tensor in inputs))
        return tuple(output.flatten(0, 1) for output in outputs)

    return forward


def _one_by_one(module: GraphModule) -> Forward:
    def forward(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        each = [module(*(tensor[index : index + 1] for tensor in inputs)) for index in range(len(inputs[0]))]
        return tuple(torch.cat(parts) for parts in zip(*each, strict=True))

    return forward


def _agree(output: Tensor, expected: Tensor) -> bool:
    if output.shape != expected.shape:
        return False
    if not output.is_floating_point():
        return torch.equal(output, expected)
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(output, expected, rtol=0.0, atol=_TOLERANCE * max(scale, 1e-6), equal_nan=True)
