"""Recovery: a short training of a pruned graph by labels, or by distillation from the original."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.weights import constants
from edgemodel_compressor.train.batches import Arrays, Batched, as_tensors, batched
from edgemodel_compressor.train.correct import channel_moments, correct
from edgemodel_compressor.train.holdout import hold_out
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.optimizer import make_optimizer, rate
from edgemodel_compressor.train.plan import Method, Recovered, StopReason, TrainingPlan
from edgemodel_compressor.train.shifting import with_shifted
from edgemodel_compressor.train.supervision import Supervision, Teacher, by_labels, by_teacher, observe
from edgemodel_compressor.train.threads import without_denormals

_CORRECTION_SAMPLES = 96
"""All at once: two numbers per channel need no more."""
_ESTIMATE_SAMPLES = 1024
"""More do not make statistics better that a batch of 32 makes well enough for training."""

Labels = NDArray[np.int64] | NDArray[np.floating]
Masks = Mapping[str, NDArray[np.bool_]]
Channels = Mapping[str, NDArray[np.int64]]
Progress = Callable[[float, str], None]
"""Told the share that is done, from 0 to 1, and a sentence."""


def recover(
    proto: onnx.ModelProto,
    inputs: Arrays,
    labels: Labels | None,
    *,
    teacher: Teacher | None,
    plan: TrainingPlan,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
    masks: Masks | None = None,
    channels: Channels | None = None,
) -> Recovered:
    """Train the weights of ``proto``, which is left as it is, on ``inputs`` (samples first in every array).

    Integer ``labels`` (samples,) name classes; for outputs with a class per position they have those axes, too. Float
    labels have the shape of the first output. ``teacher`` answers where there are no labels or the plan says
    Distillation. Where channels were taken out, ``channels`` names those of the teacher's that a tensor still has, by
    the tensor's name: their statistics are given back to it first. ``masks`` (the shape of a weight each) are False
    where a weight is zero and shall stay so.

    The same input gives the same bytes on the same machine with as many threads, which are the caller's to set.

    Raises:
        NotApplicableError: the graph, its outputs or the samples cannot be trained; the message says why.
        ValueError: labels or a teacher are missing or do not fit, or a mask fits no weight.
    """
    started = clock()
    with _deterministic(), without_denormals():
        module = observe(proto)
        samples = as_tensors(module, inputs)
        count = len(samples[0])
        if count < 2:
            raise NotApplicableError("training takes at least 2 samples, one to train and one to judge by")
        if labels is not None and len(labels) != count:
            raise ValueError(f"{len(labels)} labels for {count} samples")
        forward = batched(module, samples)
        training, validation = hold_out(count, labels, plan.validation_share, plan.seed)
        if plan.shifting and _method(labels, plan) == "Distillation":
            samples = with_shifted(samples, plan.seed)
        supervision = _supervise(module, forward, samples, labels, teacher, plan)
        masked = _masks(module, masks or {})
        correction = _correction(proto, module, forward, samples, training, teacher, channels or {}, plan)
        run = _Run(module, forward, samples, count, supervision, plan, masked, progress, clock, started)
        stopped = run.train(training, validation, correction)
    return Recovered(
        proto=_written(proto, run.best),
        epochs_run=len(run.training_loss),
        best_epoch=run.best_epoch,
        training_loss=tuple(run.training_loss),
        validation_loss=tuple(run.validation_loss),
        corrected=run.corrected,
        stopped_because=stopped,
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _method(labels: Labels | None, plan: TrainingPlan) -> Method:
    return plan.method or ("Distillation" if labels is None else "Labels")


def _supervise(
    module: GraphModule,
    forward: Batched,
    samples: Sequence[Tensor],
    labels: Labels | None,
    teacher: Teacher | None,
    plan: TrainingPlan,
) -> Supervision:
    with torch.no_grad():
        outputs = forward([tensor[:2] for tensor in samples])
    if _method(labels, plan) == "Labels":
        if labels is None:
            raise ValueError("training by labels, but there are none; give labels, or distil from the original")
        return by_labels(outputs, labels)
    if teacher is None:
        raise ValueError("distillation needs the original as its teacher; give it, or labels")
    return by_teacher(outputs, labels, teacher, samples, module.inputs, plan.batch_size, plan.temperature)


def _correction(
    proto: onnx.ModelProto,
    module: GraphModule,
    forward: Batched,
    samples: Sequence[Tensor],
    training: NDArray[np.int64],
    teacher: Teacher | None,
    channels: Channels,
    plan: TrainingPlan,
) -> Callable[[], None] | None:
    """What corrects the channels of ``module``; None where the plan, the teacher or the graph does not allow it."""
    if teacher is None or not plan.correction or not forward.together:
        return None
    chosen = torch.from_numpy(training[:: -(-len(training) // _CORRECTION_SAMPLES)])
    batch = [tensor[chosen] for tensor in samples]
    original = onnx.load(teacher) if isinstance(teacher, Path) else teacher
    moments = channel_moments(original, dict(zip(module.inputs, batch, strict=True)))
    left = {name: torch.from_numpy(positions) for name, positions in channels.items()}
    moments = {
        name: (mean[left[name]], deviation[left[name]]) if name in left else (mean, deviation)
        for name, (mean, deviation) in moments.items()
    }
    return lambda: correct(proto, module, batch, moments)


def _masks(module: GraphModule, masks: Masks) -> list[tuple[Tensor, Tensor]]:
    """Weights, now zero where their masks say so, and the masks; what is not trained needs none."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for name, mask in masks.items():
        weight = module.weights.get(name)
        if weight is None:
            continue
        if weight.shape != mask.shape:
            raise ValueError(f"the mask of {name!r} has shape {list(mask.shape)}, and the weight {list(weight.shape)}")
        keep = torch.from_numpy(np.array(mask, np.bool_))
        with torch.no_grad():
            weight.masked_fill_(~keep, 0.0)
        # Its gradients masked, a zero stays zero in every optimizer.
        pairs.append((weight, keep))
    return pairs


@dataclass
class _Run:
    """The state of one training."""

    module: GraphModule
    forward: Batched
    samples: Sequence[Tensor]
    originals: int
    """So many of the samples are those that were given; after them come copies of all, shifted."""
    supervision: Supervision
    plan: TrainingPlan
    masks: Sequence[tuple[Tensor, Tensor]]
    progress: Progress
    clock: Callable[[], float]
    started: float
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    lowest: float = math.inf
    corrected: bool = False
    training_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)

    def train(
        self, training: NDArray[np.int64], validation: NDArray[np.int64], correction: Callable[[], None] | None
    ) -> StopReason:
        """Until the plan says so, keeping the best weights."""
        plan = self.plan
        self._judge(validation)
        if correction is not None:
            self._correct(correction, validation)
        by_batch = (
            plan.statistics == "Batch"
            and bool(self.module.statistics)
            and self.forward.together
            and len(training) >= plan.batch_size > 1
        )
        weights = list(self.module.weights.values())
        optimizer = make_optimizer(weights, plan)
        per_epoch = -(-len(training) // plan.batch_size)
        steps = plan.epochs * per_epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, plan.warm_up))
        shuffle = np.random.default_rng(plan.seed)
        for epoch in range(plan.epochs):
            order = torch.from_numpy(shuffle.permutation(training))
            total = 0.0
            # Of about the same size: a batch of one has no statistics.
            for index, batch in enumerate(torch.tensor_split(self._one_of_each(order, shuffle), per_epoch)):
                if self._late():
                    # Half an epoch may have helped, too.
                    self._estimate(order, by_batch)
                    self._judge(validation)
                    return "time limit"
                self._report(epoch, epoch * per_epoch + index, steps)
                self.module.train(by_batch)
                loss = self._step(batch, weights, optimizer)
                if loss is None:
                    return "loss not finite"
                total += loss * len(batch)
                schedule.step()
            self.training_loss.append(total / len(training))
            self._estimate(order, by_batch)
            if not np.isfinite(self._judge(validation)):
                return "loss not finite"
            if plan.patience is not None and epoch + 1 - self.best_epoch >= plan.patience:
                return "no improvement"
        return "epochs"

    def _one_of_each(self, order: Tensor, random: np.random.Generator) -> Tensor:
        """Each sample as it is, or one of its shifted copies."""
        versions = len(self.samples[0]) // self.originals
        return order + self.originals * torch.from_numpy(random.integers(0, versions, len(order)))

    def _step(self, batch: Tensor, weights: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> float | None:
        """The loss of ``batch`` before its step; None, and no step, where loss or gradient is not finite."""
        optimizer.zero_grad()
        loss = self.supervision(self.forward([tensor[batch] for tensor in self.samples]), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        for weight, mask in self.masks:
            if weight.grad is not None:
                weight.grad *= mask
        norm = torch.nn.utils.clip_grad_norm_(weights, self.plan.gradient_norm)
        value = loss.item()
        if not (np.isfinite(value) and np.isfinite(norm.item())):
            return None
        optimizer.step()
        return value

    def _estimate(self, training: Tensor, by_batch: bool) -> None:
        """The running statistics anew, as the mean over batches of what the weights now make of ``training``."""
        self.module.train(by_batch)
        if by_batch:
            count = min(len(training), _ESTIMATE_SAMPLES)
            parts = torch.tensor_split(training[:count], -(-count // self.plan.batch_size))
            sums = {name: torch.zeros_like(value) for name, value in self.module.statistics.items()}
            with torch.no_grad():
                for batch in parts:
                    self.forward([tensor[batch] for tensor in self.samples])
                    for name, value in self.module.statistics.items():
                        sums[name] += value / len(parts)
            for name, value in self.module.statistics.items():
                value.copy_(sums[name])
        self.module.eval()

    def _judge(self, validation: NDArray[np.int64]) -> float:
        """The validation loss; the weights are kept if it is the lowest yet."""
        loss = self._loss(validation)
        if not self.best or loss < self.lowest:
            self._keep(loss)
        self.validation_loss.append(loss)
        return loss

    def _loss(self, validation: NDArray[np.int64]) -> float:
        total = 0.0
        with torch.no_grad():
            for batch in torch.split(torch.from_numpy(validation), self.plan.batch_size):
                outputs = self.forward([tensor[batch] for tensor in self.samples])
                total += self.supervision(outputs, batch).item() * len(batch)
        return total / len(validation)

    def _keep(self, loss: float) -> None:
        tensors = {**self.module.weights, **self.module.statistics}
        self.best = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.best_epoch = len(self.training_loss)
        self.lowest = loss if math.isfinite(loss) else math.inf

    def _correct(self, correction: Callable[[], None], validation: NDArray[np.int64]) -> None:
        """Correct the channels, or leave them, whichever has the lower validation loss."""
        correction()
        loss = self._loss(validation)
        self.corrected = loss < self.lowest
        if self.corrected:
            self._keep(loss)
            return
        with torch.no_grad():
            for name, weight in self.module.weights.items():
                weight.copy_(self.best[name])

    def _late(self) -> bool:
        return self.plan.time_limit is not None and self.clock() - self.started > self.plan.time_limit

    def _report(self, epoch: int, step: int, steps: int) -> None:
        share = step / steps
        if step:
            left = (self.clock() - self.started) * (1 - share) / share
            limit = self.plan.time_limit
            if limit is not None:
                left = min(left, max(limit - (self.clock() - self.started), 0.0))
            rest = f", about {left:.0f} s left"
        else:
            rest = ""
        self.progress(share, f"training epoch {epoch + 1} of {self.plan.epochs}{rest}")


def _written(proto: onnx.ModelProto, weights: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of ``proto`` with ``weights``."""
    trained = onnx.ModelProto()
    trained.CopyFrom(proto)
    tensors = constants(trained.graph)
    for name, weight in weights.items():
        tensor = tensors[name]
        # Constant nodes hold tensors whose own name is not that of their output.
        tensor.CopyFrom(numpy_helper.from_array(weight.numpy(), tensor.name))
    return trained
