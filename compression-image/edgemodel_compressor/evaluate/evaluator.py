"""How good a model answers, on samples that nothing else has seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.data.split import Indices
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.evaluate.confidence import mean_interval, wilson
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session
from edgemodel_contract.quality import SHARES, Metric
from edgemodel_contract.task import TensorSpec

TOP = 5
_LABELLED: frozenset[Metric] = frozenset({"top1", "top5", "perplexity", "mse"})
_NEEDS: dict[Metric, str] = {
    "top1": "one integer class per sample as labels",
    "top5": f"one integer class per sample as labels, and a model of more than {TOP} classes",
    "perplexity": "one token per position as labels",
    "mse": "float targets as labels",
}
REFERENCE_BYTES = 256 * 2**20
"""Memory for the original's outputs, where the metric compares whole outputs."""


@dataclass(frozen=True)
class Samples:
    """A part of a dataset, one sample at a time."""

    dataset: Dataset
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def spread(self, most: int) -> "Samples":
        """At most so many of them, spread over all."""
        chosen = np.linspace(0, len(self.indices) - 1, min(most, len(self.indices))).round().astype(np.int64)
        return Samples(self.dataset, self.indices[chosen])

    def feeds(self) -> Iterator[Feed]:
        """Each sample as a batch of one, in the order of ``indices``."""
        for index in self.indices:
            yield self.dataset.sample(index)

    def inputs(self) -> dict[str, Array]:
        """All samples at once: one array per input, samples first."""
        return {name: array[self.indices] for name, array in self.dataset.inputs.items()}

    def labels(self) -> Array | None:
        """Labels, samples first, in the order of ``feeds``."""
        return None if self.dataset.labels is None else self.dataset.labels[self.indices]


@dataclass(frozen=True)
class Score:
    """A metric's value over so many samples, and the bounds of its 95 % confidence interval.

    ``top5`` is the same of a ``top1`` among more than five classes.
    """

    value: float
    samples: int
    low: float
    high: float
    top5: "Score | None" = None


def classes_of(outputs: Sequence[TensorSpec]) -> int | None:
    """Number of classes, where the first output is a list of scores per sample; None where it is something else.

    0 stands for a list of scores whose length the file leaves open.
    """
    first = outputs[0]
    if len(first.shape) != 2 or not first.datatype.startswith("FP") or first.shape[0] not in (-1, 1):
        return None
    if first.shape[1] == -1:
        return 0
    return first.shape[1] if first.shape[1] > 1 else None


def metric_for(outputs: Sequence[TensorSpec], labels: Array | None, named: Metric | None = None) -> Metric:
    """What is ``named``, or what tells most about this model on these labels; without labels, how well it agrees with
    the original.

    Raises:
        TaskError: InvalidTask where labels or outputs are not such that the named metric could be measured.
    """
    usual = _usual_metric(outputs, labels)
    if named is None or named == usual or named in ("agreement", "cosine"):
        return named or usual
    if named == "top5" and usual == "top1" and (outputs[0].shape[-1] > TOP or outputs[0].shape[-1] == -1):
        return named
    raise TaskError(
        "InvalidTask",
        f"compression.metric is {named}, which needs {_NEEDS[named]}; leave it out to have {usual} measured, or give "
        "such a dataset.",
    )


def _usual_metric(outputs: Sequence[TensorSpec], labels: Array | None) -> Metric:
    if labels is None:
        return "cosine" if classes_of(outputs) is None else "agreement"
    if labels.dtype.kind == "f":
        return "mse"
    return "perplexity" if labels.ndim == 2 else "top1"


@dataclass
class Evaluator:
    """Scores models on ``samples``: against labels if there are any, else against what the original answers.

    The first model that is scored is the original.
    """

    samples: Samples
    metric: Metric
    widened: bool = False
    """Whether the CPU that will serve never saturates, so that this one must not either."""
    _reference: list[Array] = field(default_factory=list)

    def score(self, model: Path, threads: int, advance: Callable[[float], None]) -> Score:
        """Score the file ``model``. ``advance`` is told the share done.

        Runs each sample on its own: dynamic quantization takes its ranges from the whole batch.
        """
        session = Session(model, threads, widened=self.widened)
        labels = self.samples.labels() if self.metric in _LABELLED else None
        is_original = not self._reference
        scores: list[float] = []
        among: list[float] = []
        spent = 0
        for index, (output, *_) in enumerate(session.run_each(self.samples.feeds())):
            if labels is not None:
                scores.append(_against_label(self.metric, output, labels[index]))
                if self.metric == "top1" and output.shape[-1] > TOP:
                    among.append(_against_label("top5", output, labels[index]))
            else:
                answer = output if self.metric == "cosine" else output.argmax(axis=-1)
                if is_original:
                    self._reference.append(answer)
                    spent += answer.nbytes
                elif index >= len(self._reference):
                    break
                scores.append(_against_original(self.metric, answer, self._reference[index]))
            advance((index + 1) / len(self.samples))
            if spent > REFERENCE_BYTES:
                break
        return replace(
            _summarize(self.metric, np.array(scores)),
            top5=_summarize("top5", np.array(among)) if among else None,
        )


def _against_label(metric: Metric, output: Array, label: Array) -> float:
    if metric == "top1":
        return float(output.argmax(axis=-1).ravel()[0] == label)
    if metric == "top5":
        # Of equal scores the first counts as best, as in argmax; what is no number comes last.
        best = np.argsort(-output.astype(np.float64).reshape(-1), kind="stable")[:TOP]
        return float(label in best)
    if metric == "mse":
        return float(np.mean((output.astype(np.float64).ravel() - label.astype(np.float64).ravel()) ** 2))
    return _negative_log_likelihood(output, label)


def _against_original(metric: Metric, answer: Array, reference: Array) -> float:
    if answer.shape != reference.shape:
        # As many rows come out as something was found: more or fewer are another answer.
        return 0.0
    return _cosine(answer, reference) if metric == "cosine" else float(np.all(answer == reference))


def _negative_log_likelihood(logits: Array, tokens: Array) -> float:
    """Mean over positions. ``logits`` (1, positions, words), ``tokens`` (positions,); a negative token is left out."""
    scores = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    kept = tokens >= 0
    scores, wanted = scores[kept], tokens[kept]
    scores -= scores.max(axis=1, keepdims=True)
    likelihood = scores[np.arange(len(wanted)), wanted] - np.log(np.exp(scores).sum(axis=1))
    return float(-likelihood.mean()) if len(wanted) else 0.0


def _summarize(metric: Metric, scores: NDArray[np.float64]) -> Score:
    count = len(scores)
    if metric in SHARES:
        low, high = wilson(round(float(scores.sum())), count)
    else:
        low, high = mean_interval(scores)
    figures = np.array([scores.mean(), low, high])
    if metric == "perplexity":
        figures = np.exp(figures)
    value, low, high = (round(float(figure), 6) for figure in figures)
    return Score(value, count, low, high)


def _cosine(first: Array, second: Array) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale == 0:
        return float(np.array_equal(a, b))
    return float(np.clip(a @ b / scale, -1.0, 1.0))
