"""How good a model answers, output by output, on samples that nothing else has seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.data.split import Indices
from edgemodel_compressor.evaluate.confidence import mean_interval, standard_error, wilson
from edgemodel_compressor.evaluate.fidelity import compare
from edgemodel_compressor.evaluate.fidelity.boxes import detections, gather
from edgemodel_compressor.evaluate.fidelity.dependence import dependence
from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity
from edgemodel_compressor.evaluate.kinds import detects, kind_of
from edgemodel_compressor.evaluate.labels import TOP, against_label
from edgemodel_compressor.onnxmodel.modelfile import read_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session
from edgemodel_contract import quality
from edgemodel_contract.quality import LABELLED, Metric
from edgemodel_contract.result import OutputQuality
from edgemodel_contract.task import OutputRule

REFERENCE_BYTES = 256 * 2**20
"""Memory for the original's outputs, which candidates are compared with."""
CLASSES: frozenset[Metric] = frozenset({"Top1", "Top5"})
_ENDLESS = 1e30
"""Stands for a figure that is infinite or no number: worse than any that a model has."""


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
    """How good a model is: of its labelled output, or of the one that lost most; and of each.

    ``low`` and ``high`` bound the 95 % confidence interval; ``top5`` is the same of a ``Top1`` among more than five
    classes.
    """

    metric: Metric
    value: float
    samples: int
    low: float
    high: float
    outputs: tuple[OutputQuality, ...] = ()
    top5: "Score | None" = None

    @property
    def lost(self) -> float:
        """What the output that lost most has lost; all of it where one is broken."""
        return max((1.0 if item.broken else item.lost for item in self.outputs), default=0.0)


@dataclass
class _Run:
    """Everything that one model answered: per output an array for each sample that is remembered."""

    names: Sequence[str]
    answers: list[list[Array]]
    against: list[float]
    """Of the labelled output, per sample."""
    among: list[float]
    """Likewise among the five best."""


@dataclass
class Evaluator:
    """Scores models on ``samples``: against labels if there are any, else against what the original answers.

    The first model that is scored is the original. ``metric`` is that of the output ``main``, None to have it told from
    the graph, as that of every other output that no one of ``rules`` names.
    """

    samples: Samples
    metric: Metric | None = None
    main: int = 0
    rules: tuple[OutputRule, ...] = ()
    widened: bool = False
    """Whether the CPU that will serve never saturates, so that this one must not either."""
    _original: _Run | None = None
    _metrics: list[Metric | None] = field(default_factory=list)
    """By output; None for one that is judged together with another."""
    _first: Score | None = None

    def score(self, model: Path, threads: int, advance: Callable[[float], None]) -> Score:
        """Score the file ``model``. ``advance`` is told the share done.

        Runs each sample on its own: dynamic quantization takes its ranges from the whole batch.
        """
        run = self._run(model, threads, advance)
        if self._original is None:
            self._original, self._metrics = run, self._kinds(model, run)
        judged = [self._judged(index, run) for index in range(len(run.names))]
        found = [item for item in judged if item is not None]
        main = next((item for item in found if item.metric in LABELLED), max(found, key=lambda item: item.lost))
        score = Score(
            main.metric,
            main.value,
            len(run.against) or len(run.answers[0]),
            main.low,
            main.high,
            tuple(found),
            self._summed("Top5", np.array(run.among)) if run.among else None,
        )
        if self._first is None:
            self._first = score
        return score

    def problem(self) -> str | None:
        """What is wrong with the original's answers, as a sentence, once it was scored; None where nothing is."""
        run = self._original
        if run is None:
            return None
        for name, answers in zip(run.names, run.answers, strict=True):
            for index, array in enumerate(answers):
                if array.dtype.kind == "f" and np.isnan(array).any():
                    return (
                        f"The model answers NaN in its output {name!r} on sample {self.samples.indices[index]} of the "
                        "dataset; check the model, and that inputs are scaled as in its training."
                    )
        alike = len(run.answers[0]) >= 2 and any(answers[0].dtype.kind == "f" for answers in run.answers)
        if alike and all(_equal(answers[0], other) for answers in run.answers for other in answers[1:]):
            return (
                f"The model gives one and the same answer to all {len(run.answers[0])} samples that judge it, so that "
                "nothing can be told from them; check that inputs are scaled as in its training, or the model."
            )
        return None

    def _run(self, model: Path, threads: int, advance: Callable[[float], None]) -> _Run:
        session = Session(model, threads, widened=self.widened)
        labels = self.samples.labels() if self.metric in LABELLED else None
        run = _Run(session.outputs, [[] for _ in session.outputs], [], [])
        most = len(self._original.answers[0]) if self._original else len(self.samples)
        spent = 0
        for index, outputs in enumerate(session.run_each(self.samples.feeds())):
            arrays = [_numbers(output) for output in outputs]
            if labels is not None:
                main = arrays[self.main]
                run.against.append(against_label(self.metric or "Top1", main, labels[index]))
                if self.metric == "Top1" and main.dtype.kind == "f" and main.shape[-1] > TOP:
                    run.among.append(against_label("Top5", main, labels[index]))
            if index < most and spent <= REFERENCE_BYTES:
                for kept, array in zip(run.answers, arrays, strict=True):
                    kept.append(array)
                    spent += array.nbytes
            elif labels is None:
                break
            advance((index + 1) / len(self.samples))
        return run

    def _kinds(self, model: Path, run: _Run) -> list[Metric | None]:
        """The metric of each output; None for one that is judged with the boxes it belongs to."""
        proto = read_model(model, weights=False)
        named: dict[str, Metric | None] = {rule.output: rule.metric for rule in self.rules}
        if self.metric is not None:
            named[run.names[self.main]] = self.metric
        kinds: list[Metric | None] = [
            named.get(name) or kind_of(proto, name, answers)
            for name, answers in zip(run.names, run.answers, strict=True)
        ]
        found = [index for index, kind in enumerate(kinds) if kind == "Boxes"]
        if not found and detects(proto):
            found = [i for i, name in enumerate(run.names) if not named.get(name) and _may_be_boxes(run.answers[i])][:1]
        for index in found:
            # Without scores there is nothing to weigh them by.
            readable = gather(run.answers[index], self._beside(index, run)) is not None
            kinds[index] = "Boxes" if readable else "Values"
            for other in range(len(kinds)) if readable else ():
                if other != index and kinds[other] not in LABELLED and _belongs(run.answers[index], run.answers[other]):
                    kinds[other] = None
        return kinds

    def _beside(self, index: int, run: _Run) -> dict[str, Answers]:
        return {
            name: answers
            for other, (name, answers) in enumerate(zip(run.names, run.answers, strict=True))
            if other != index and _belongs(run.answers[index], answers)
        }

    def _judged(self, index: int, run: _Run) -> OutputQuality | None:
        """The output ``index``; None where it is judged together with another."""
        metric, original = self._metrics[index], self._original
        if metric is None or original is None:
            return None
        if metric in LABELLED:
            return self._labelled(metric, index, run)
        if run is original:
            return OutputQuality(output=run.names[index], metric=metric, value=1.0, low=1.0, high=1.0)
        before, after = original.answers[index], run.answers[index]
        found = self._detected(index, run, original) if metric == "Boxes" else compare(metric, before, after)
        value = round(found.value, 6)
        low, high = _interval(found)
        return OutputQuality(
            output=run.names[index],
            metric=metric,
            value=value,
            low=low,
            high=high,
            lost=round(1.0 - value, 6),
            margin=round(standard_error(np.clip(found.series, 0.0, 1.0)), 6),
            broken=found.broken,
            words=found.words,
        )

    def _detected(self, index: int, run: _Run, original: _Run) -> Fidelity:
        before = gather(original.answers[index], self._beside(index, original))
        after = gather(run.answers[index], self._beside(index, run))
        if before is None or after is None:
            return Fidelity(np.zeros(len(run.answers[index])), "its detections cannot be read")
        return detections(before, after)

    def _labelled(self, metric: Metric, index: int, run: _Run) -> OutputQuality:
        score = self._summed(metric, np.array(run.against))
        made = OutputQuality(output=run.names[index], metric=metric, value=score.value, low=score.low, high=score.high)
        if self._first is None or self._original is None:
            return made
        moves = dependence(self._original.answers[index], run.answers[index])
        # Training may make a model surer of itself: that changes no answer.
        gone = moves.fault(most_slope=np.inf)
        if metric in CLASSES:
            words = (
                f"of {score.samples} samples, {round(score.value * score.samples)} are right, and "
                f"{round(self._first.value * score.samples)} of the original's"
            )
        else:
            words = f"{metric} is {score.value:.4g}, and {self._first.value:.4g} of the original"
        lost = quality.lost(metric, self._first.value, score.value)
        margin = self._margin(metric, run.against, self._original.against)
        return structs.replace(
            made, lost=1.0 if gone else lost, margin=margin, broken=moves.is_none, words=gone or words
        )

    @staticmethod
    def _margin(metric: Metric, after: Sequence[float], before: Sequence[float]) -> float:
        """The standard error of what was lost: of the differences, sample by sample, as ``quality.lost`` counts."""
        differences = np.array(after) - np.array(before)
        error = standard_error(differences)
        if metric == "Perplexity":
            # Of e to the mean difference.
            error *= float(np.exp(np.clip(differences.mean(), -50.0, 50.0)))
        elif metric == "MSE":
            error = error / float(np.mean(before)) if np.mean(before) > 0 else 0.0
        # Where one of the samples is not finite, neither is what was lost, and that says enough.
        return round(error, 6) if np.isfinite(error) else 0.0

    @staticmethod
    def _summed(metric: Metric, scores: NDArray[np.float64]) -> Score:
        """Of what was measured against labels, per sample."""
        if metric in CLASSES:
            low, high = wilson(round(float(scores.sum())), len(scores))
        else:
            low, high = mean_interval(scores)
        figures = np.array([scores.mean(), low, high])
        if metric == "Perplexity":
            figures = np.exp(figures)
        # JSON has no number for what is none, and status and reports are JSON.
        figures = np.nan_to_num(figures, nan=_ENDLESS, posinf=_ENDLESS, neginf=-_ENDLESS)
        value, low, high = (round(float(figure), 6) for figure in figures)
        return Score(metric, value, len(scores), low, high)


def _numbers(output: Array) -> Array:
    """Of a list of one dictionary per row, as classifiers of trees answer, the numbers in the order of the keys."""
    if output.dtype != object or not output.size or not isinstance(output.flat[0], dict):
        return output
    return np.array([[row[key] for key in sorted(row)] for row in output.ravel()])


def _equal(first: Array, second: Array) -> bool:
    return first.shape == second.shape and bool(np.array_equal(first, second))


def _may_be_boxes(answers: Answers) -> bool:
    """Rows of four numbers, or of six or seven, as many as were found."""
    return all(array.dtype.kind == "f" and array.ndim >= 2 and array.shape[-1] in (4, 6, 7) for array in answers)


def _belongs(boxes: Answers, other: Answers) -> bool:
    """Whether ``other`` has something for each of ``boxes``, or their number."""
    counts = [box.size // box.shape[-1] for box in boxes]
    numbers = all(array.size == 1 and array.dtype.kind in "iu" for array in other)
    return boxes[0].shape[-1] == 4 and (
        numbers
        or all(
            array.size == count or array.shape[-2:-1] == (count,) for array, count in zip(other, counts, strict=True)
        )
    )


def _interval(found: Fidelity) -> tuple[float, float]:
    """Bounds of the 95 % confidence interval of the mean, within 0 and 1."""
    if found.broken:
        return 0.0, 0.0
    if np.isin(found.series, (0.0, 1.0)).all():
        bounds = wilson(float(found.series.sum()), len(found.series))
    else:
        bounds = mean_interval(found.series)
    low, high = (round(float(np.clip(bound, 0.0, 1.0)), 6) for bound in bounds)
    return low, high
