"""Builds model files: a method in, a file out. What two methods have in common is built once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgemodel_compressor.errors import NotApplicableError, told
from edgemodel_compressor.evaluate.evaluator import Samples
from edgemodel_compressor.graph.cost import macs, operators
from edgemodel_compressor.graph.normalize import normalize
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration, calibrate
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.mixed_precision.selection import mixed_precision
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import MEASURED, Sensitivity, sensitivity
from edgemodel_compressor.graph.quantization.prepare import prepare
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.structure import (
    NOTHING,
    Analysis,
    Branch,
    Scores,
    analyse,
    channels_left,
    influence,
    least,
    magnitude,
    remove,
    residual_branches,
    select,
    taylor,
    without,
)
from edgemodel_compressor.graph.tidy import tidy
from edgemodel_compressor.graph.weights import float_weights
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.modelfile import model_size, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.candidates import Method
from edgemodel_contract.task import Pruning, Recovery

GRADIENT_SAMPLES = range(16, 256)
GRADIENT_WORK = 1e11
"""Multiply-accumulates that importance may cost, within GRADIENT_SAMPLES."""
THIN = 1e5
"""Multiply-accumulates of an operator that take a core some microseconds, as starting it does."""
INFLUENCE_SAMPLES = 64
SENSITIVITY_SAMPLES = 16
SENSITIVITY_BYTES = 250e6
MIN_MEASURED = 6
"""Each node whose noise is measured is a model of its own, which is written and loaded: of a large one there are fewer
than MEASURED, but these at least."""
MIXED_TRIALS = 8
STEP_LABELS = 512
"""A step of training has as many samples as hold these labels, within MIN_BATCH and MAX_BATCH: a sample with a label
for each of its positions says as much as many that have one."""
MIN_BATCH, MAX_BATCH = 8, 32
BACKWARD = 2
"""Times the arithmetic of running a model that its gradients take."""
LEARNING_RATE = 1e-3
"""The highest, times the share that was taken out: the less that is, the less has to be learnt anew, and the more would
be forgotten for large steps."""
SHIFTING_WORK = 1e11
"""Multiply-accumulates of an epoch; the original's answers to shifted images take a third more than one."""
PATIENCE_SHARE = 0.4
"""Share of the epochs; so many without a better validation loss end a recovery."""

TRAINING_SHARE = 0.7
"""Of the time that is left: the rest quantizes and judges what was trained."""

Masks = dict[str, NDArray[np.bool_]]
Channels = dict[str, NDArray[np.int64]]


@dataclass
class CandidateBuilder:
    """Everything lands in ``folder``, a file per method. ``calibration`` and ``training`` are parts of the dataset."""

    model: Model
    folder: Path
    cpu: TargetCpu
    calibration: Samples | None
    training: Samples | None
    notes: list[str] = field(default_factory=list)
    """One sentence for each thing that was left as it was."""
    _floats: dict[Method, Path] = field(default_factory=dict)
    _prepared: dict[Path, Path] = field(default_factory=dict)
    _calibrations: dict[Path, Calibration] = field(default_factory=dict)
    _analyses: dict[Path, Analysis] = field(default_factory=dict)
    _rankings: dict[tuple[Path, QuantizationRecipe], list[Sensitivity]] = field(default_factory=dict)
    _scores: dict[Path, Scores] = field(default_factory=dict)

    def build(self, method: Method, holds: Callable[[Path], bool], span: Span) -> Path:
        """The model file of ``method``. ``holds`` says whether a file keeps its promises, for mixed precision.

        Raises:
            NotApplicableError: the method cannot be applied to this model.
        """
        training, quantizing = span.split(3 if method.recovery else 1, 1)
        source = self._float_model(method.floats, training)
        recipe = method.quantization
        if recipe is None:
            return source
        target = self.folder / f"{method.name}.onnx"
        prepared = self._prepare(source)
        measured = self._calibrate(source, method, quantizing) if recipe.method == "Static" else None
        quantizing.report("Compressing", f"building {method.name}", 0.8)
        if method.mixed and measured is not None:
            ranking = [item.node for item in self.rank(source, method, quantizing)]
            found = mixed_precision(
                prepared, target, recipe, ranking, holds, measured, self.cpu, self.folder, MIXED_TRIALS
            )
            self.notes.append(f"{method.name} keeps {len(found.recipe.excluded)} nodes as floats.")
        else:
            quantize(prepared, target, recipe, measured, self.cpu, self.folder, self._example())
        return target

    def rank(self, source: Path, method: Method, span: Span) -> list[Sensitivity]:
        """Nodes of a static model of ``source`` by how much its outputs suffer, the worst first; empty without data."""
        recipe, samples = method.quantization, self.calibration
        if recipe is None or recipe.method != "Static" or samples is None or source not in self._calibrations:
            return []
        feeds = [feed for feed, _ in zip(samples.feeds(), range(SENSITIVITY_SAMPLES), strict=False)]
        most = int(np.clip(SENSITIVITY_BYTES / model_size(source), MIN_MEASURED, MEASURED))
        key = (source, recipe)
        if key not in self._rankings:
            message = f"finding which nodes {method.name} should leave as floats"
            self._rankings[key] = sensitivity(
                self._prepare(source),
                feeds,
                recipe,
                self._calibrations[source],
                self.cpu,
                self.folder,
                most,
                lambda: span.report("Compressing", message),
            )
        return self._rankings[key]

    def float_file(self, method: Method) -> Path:
        """The file that the integers of ``method`` were made of; only after ``build``."""
        return self._floats[method.floats] if method.pruning else self.base

    @cached_property
    def base(self) -> Path:
        """The original in forms that every method understands; what they start from."""
        note = partial(self._leave_out, "Writing the graph in plainer forms")
        return told(lambda: normalize(self.model.path, self.folder), self.model.path, note)

    @cached_property
    def analysis(self) -> Analysis:
        """What structured pruning can take out. What it cannot goes into the notes."""
        found = told(lambda: self._analysis(self.base), NOTHING, partial(self._leave_out, "Structured pruning"))
        if found.kept:
            names = ", ".join(sorted(found.kept)[:5]) + (" …" if len(found.kept) > 5 else "")
            reasons = " ".join(sorted(set(found.kept.values()))[:3])
            self.notes.append(f"Structured pruning leaves these whole: {names}. {reasons}")
        return found

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The residual branches that can be taken out whole."""
        return told(
            lambda: residual_branches(read_model(self.base)), (), partial(self._leave_out, "Pruning of whole branches")
        )

    @cached_property
    def thin(self) -> bool:
        """Whether starting the model's operators takes longer than what they compute."""
        if self._macs is None:
            return False
        return self._macs < THIN * operators(read_model(self.base, weights=False))

    @cached_property
    def can_train(self) -> bool:
        """Whether there are samples to train on, and a graph that can be trained; else the notes say why not."""
        if self.training is None or not len(self.training):
            return False
        from edgemodel_compressor.train.supervision import observe

        def note(reason: str) -> None:
            self.notes.append(f"The model cannot be trained after pruning: {reason}.")

        return told(lambda: observe(read_model(self.base)), None, note) is not None

    @cached_property
    def epoch(self) -> float:
        """Multiply-accumulates of one epoch of training on the whole model; 0 where there is nothing to train on."""
        if self.training is None or not len(self.training) or self._macs is None:
            return 0.0
        return self._macs * (1.0 + BACKWARD) * len(self.training)

    @cached_property
    def _macs(self) -> int | None:
        """Multiply-accumulates of one sample; None without samples."""
        samples = self.training or self.calibration
        if samples is None:
            return None
        shapes = samples.dataset.sample_shapes
        return told(lambda: macs(read_model(self.base, weights=False), shapes), None, lambda _: None)

    def _leave_out(self, what: str, reason: str) -> None:
        self.notes.append(f"{what} is left out: {reason}.")

    def _analysis(self, source: Path) -> Analysis:
        if source not in self._analyses:
            self._analyses[source] = analyse(read_model(source))
        return self._analyses[source]

    def _importance(self, source: Path) -> Scores:
        """Of the units of the float model at ``source``."""
        if source not in self._scores:
            self._scores[source] = self._rated(source)
        return self._scores[source]

    def _rated(self, source: Path) -> Scores:
        proto, analysis = read_model(source), self._analysis(source)
        if not self.can_train or self.training is None:
            return magnitude(proto, analysis)
        from edgemodel_compressor.train.gradients import gradients

        self._set_threads()
        samples = GRADIENT_WORK / max(self.epoch / len(self.training), 1.0)
        samples = int(np.clip(samples, GRADIENT_SAMPLES.start, GRADIENT_SAMPLES.stop))
        slopes = gradients(proto, self.training.inputs(), self.training.labels(), None, samples, squared=True)
        return taylor(proto, analysis, {name: np.sqrt(slope) for name, slope in slopes.items()})

    def _set_threads(self) -> None:
        """Of torch: two threads that wait for each other at every small operator are slower than one."""
        from edgemodel_compressor.train.threads import use_all_cores, use_one_core

        if self.thin:
            use_one_core()
        else:
            use_all_cores()

    def _float_model(self, method: Method, span: Span) -> Path:
        pruning = method.pruning
        if pruning is None:
            return self.base
        if method not in self._floats:
            source = self.base
            if pruning.depth and pruning.sparsity:
                # What is left of the branches has learnt their part by the time its channels are rated.
                first, span = span.split(1, 1)
                source = self._float_model(method.shallow, first)
            span.report("Compressing", f"building {method.name}")
            proto, masks, channels = self._pruned(source, pruning) if pruning.sparsity else self._shallow(pruning.depth)
            if method.recovery is not None:
                proto = self._recovered(proto, masks, channels, method, span)
            tidy(proto)
            target = self.folder / f"{method.name}.onnx"
            write_model(proto, target, self.base.parent)
            self._floats[method] = target
        return self._floats[method]

    def _shallow(self, depth: float) -> tuple[onnx.ModelProto, Masks, Channels]:
        """The original without those of its branches that change least."""
        if not self.branches:
            raise NotApplicableError("it has no residual branches that can be taken out")
        samples = self.training if self.training is not None and len(self.training) else self.calibration
        if samples is None:
            raise NotApplicableError("which of its residual branches matter least is measured on samples")
        feeds = islice(samples.feeds(), INFLUENCE_SAMPLES)
        chosen = least(self.branches, influence(self.base, self.branches, feeds, self.folder), depth)
        if not chosen:
            raise NotApplicableError(f"so small a share of its {len(self.branches)} residual branches is less than one")
        return without(read_model(self.base), chosen), {}, {}

    def _pruned(self, source: Path, pruning: Pruning) -> tuple[onnx.ModelProto, Masks, Channels]:
        """The smaller model; or the same with zeros, and where they are."""
        proto = read_model(source)
        if pruning.method == "Structured":
            analysis = self._analysis(source)
            if not analysis.groups:
                raise NotApplicableError("it has no channels, heads or neurons that can be taken out on their own")
            selection = select(analysis, self._importance(source), pruning.sparsity, scope=pruning.scope)
            if not selection.removed:
                raise NotApplicableError("so small a share of its channels, heads and neurons is less than one step")
            return remove(proto, selection), {}, channels_left(selection)
        prune(proto, pruning)
        weights = float_weights(proto.graph)
        return proto, {name: numpy_helper.to_array(tensor) != 0 for name, tensor in weights.items()}, {}

    def _recovered(
        self, proto: onnx.ModelProto, masks: Masks, channels: Channels, method: Method, span: Span
    ) -> onnx.ModelProto:
        recovery, pruning = method.recovery or Recovery(), method.pruning or Pruning()
        if self.training is None or not len(self.training):
            raise NotApplicableError("there are too few samples to set some aside for training")
        from edgemodel_compressor.train.plan import TrainingPlan
        from edgemodel_compressor.train.recover import recover

        self._set_threads()
        labels = self.training.labels()
        plan = TrainingPlan(
            method=recovery.method or "Distillation",
            epochs=recovery.epochs,
            learning_rate=recovery.learning_rate or LEARNING_RATE * (pruning.sparsity or pruning.depth),
            batch_size=_batch_size(labels),
            patience=max(round(PATIENCE_SHARE * recovery.epochs), 1),
            time_limit=None if span.deadline is None else TRAINING_SHARE * (span.deadline - span.clock()),
            shifting=self.epoch <= SHIFTING_WORK,
        )
        try:
            trained = recover(
                proto,
                self.training.inputs(),
                labels,
                teacher=self.model.path,
                plan=plan,
                progress=lambda share, text: span.report("Compressing", f"training {method.name}: {text}", share),
                masks=masks,
                channels=channels,
            )
        except ValueError as error:
            raise NotApplicableError(str(error)) from error
        if trained.stopped_because == "loss not finite":
            self.notes.append(f"The training of {method.name} diverged; its best weights were kept.")
        return trained.proto

    def _prepare(self, source: Path) -> Path:
        if source not in self._prepared:
            self._prepared[source] = prepare(source, self.folder)
        return self._prepared[source]

    def _calibrate(self, source: Path, method: Method, span: Span) -> Calibration:
        if self.calibration is None:
            raise NotApplicableError("static quantization needs samples")
        if source not in self._calibrations:
            total = len(self.calibration)
            seen = 0

            def advance() -> None:
                nonlocal seen
                seen += 1
                span.report(
                    "Compressing", f"building {method.name}: calibration sample {seen} of {total}", 0.7 * seen / total
                )

            self._calibrations[source] = calibrate(
                self._prepare(source), self.calibration.feeds(), self.folder, advance
            )
        return self._calibrations[source]

    def _example(self) -> Feed | None:
        return next(self.calibration.feeds(), None) if self.calibration is not None else None


def _batch_size(labels: Array | None) -> int:
    """Samples per step of training."""
    if labels is None or labels.dtype.kind == "f":
        return MAX_BATCH
    return min(max(STEP_LABELS * len(labels) // max(labels.size, 1), MIN_BATCH), MAX_BATCH)
