"""What ``Auto`` tries next, from what it tried so far. Pure: the same trials always lead to the same next one.

Cheap steps come first. Integers alone: the kinds that pay for this model, with other calibrations and with floats in
between only where the plain ones lose too much. Then zeros, which make the layer that nodes download smaller. Then
whole channels, heads and neurons, each time with the integers that did best: a half, or a quarter more where the model
has much to spare; then by steps that each leave half of what the one before has left, as long as all goes well; or by
half as many, where the first was too much. Zeros are trained only where no channels could be taken out: those make
everything smaller and faster, zeros the layer alone.

A network of many small operators takes its time to start them, and fewer channels make it smaller, not faster. There
whole residual branches go first, by such steps, and channels are taken out of what that has left.

A training may do so much arithmetic and no more, so that a large model is trained for fewer epochs than a small one,
or not at all: the search takes a minute or two, whatever it is given. Arithmetic is counted, not timed.

Verdicts rest on size and quality alone, which are the same on every run; what is measured with a clock decides only the
final choice, so that a noisy machine does not lead to another model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.search.candidates import Method
from edgemodel_contract.task import Pruning, Recovery

Verdict = Literal["Good", "Lossy", "Larger", "Impossible"]

MAGNITUDE_SPARSITY = 0.5
"""Without retraining, half of the weights is about what magnitude pruning takes before accuracy breaks."""
FIRST_SHARE = 0.5
UNTRAINED_SHARE = 0.125
"""What is taken out first where nothing can be trained; if that hurts, the search for channels is over."""
BOLD_SHARE = 0.75
"""What is taken out first of the branches, of which most are seldom needed; and of the channels where so many branches
were not, or where half of the weights could become zero without any training."""
LARGEST_SHARE = 0.96875
FINEST_STEP = 0.25
"""Between a share that went well and one that did not, a training is worth its time where they are further apart."""
MIN_SHARE = 0.125
"""Fewer channels are not worth a training."""
TRAINING_WORK = 0.5e12
"""Multiply-accumulates of one training: about twenty seconds of two cores."""
LONGER = 2
"""Times the usual epochs, for a model of small operators."""
MIN_EPOCHS = 2
"""Fewer do not bring back what was taken out."""

STATIC = QuantizationRecipe("Static")
DYNAMIC = QuantizationRecipe("Dynamic")
FUSED = QuantizationRecipe("Dynamic", fused=True, float_storage="fp16")
COLUMNS = (
    Method(quantization=QuantizationRecipe("Dynamic", columns=True, fused=True, float_storage="fp16")),
    Method(quantization=QuantizationRecipe("Dynamic", columns=True)),
)
"""For products of which one scale for a whole weight loses too much: MiniLM's sentence vectors keep a cosine of 0.99
with one per column, and 0.85 with one in all."""
WEIGHTS = QuantizationRecipe("WeightOnly")
WIDENED = QuantizationRecipe("WeightOnly", widened=True)
"""About as small: which of the two is faster depends on the products, and is seen when they are timed."""
AS_FLOATS = ("WeightOnly", "FP16")
"""Methods that store less and compute in floats all the same: smaller, and no faster."""
QUARTER, HALVES = 0.35, 0.6
"""Shares of the original that these leave of most models: what is larger has many weights that no integers reached."""
NO_FASTER = 1.1
"""What such a model may be smaller by, and is still worth no more than one that computes in integers."""
HALF = QuantizationRecipe("FP16")
FALLBACKS = (
    Method(quantization=QuantizationRecipe("Static", calibration="Percentile")),
    Method(quantization=QuantizationRecipe("Static", calibration="Entropy")),
    Method(quantization=STATIC, mixed=True),
)
"""For a model that integers hurt: tighter ranges, then floats where it hurts most."""


@dataclass(frozen=True)
class Facts:
    """What the search knows of the model before it begins."""

    has_dataset: bool
    """There are samples to calibrate on and to judge by."""
    can_train: bool
    """A part of the samples is set aside for recovery, and the model can be trained."""
    epoch: float
    """Multiply-accumulates of an epoch of training on the whole model."""
    prunable: bool
    """Structured pruning found groups to shrink."""
    multiplies: bool
    """Most weights are those of matrix products, which dynamic and weight-only quantization make smaller and faster;
    convolutions they only make slower."""
    products: bool = False
    """There are matrix products with weights that count."""
    depthwise: bool = False
    """Many convolutions are depthwise: integers make these no faster, so that weights alone may be worth more."""
    branches: int = 0
    """Residual branches, where starting the operators takes longer than what they compute; elsewhere none may go."""
    work: float = TRAINING_WORK
    """Multiply-accumulates that one training may do."""
    footprint: int = 0
    """Of the original, as of a Trial; 0 where it is not known."""
    hurried: bool = False
    """Time is short: what needs no calibration comes first, so that there is something at hand when it is up."""


@dataclass(frozen=True)
class Trial:
    """A method that was tried. ``footprint`` is bytes downloaded plus bytes kept."""

    method: Method
    verdict: Verdict
    footprint: int = 0


def propose(facts: Facts, trials: Sequence[Trial]) -> Method | None:
    """The next method to try; None when there is nothing left that could be better."""
    tried = {trial.method: trial for trial in trials}
    for stage in (_integers, _zeros, _branches, _channels, _trained_zeros):
        for method in stage(facts, tried):
            if method not in tried:
                return method
    return None


def best_quantization(facts: Facts, tried: dict[Method, Trial]) -> Method:
    """The integers that left the smallest good model of those tried without pruning; else no quantization.

    Where integers are faster, hardly less room does not outweigh that.
    """
    good = [trial for trial in tried.values() if trial.method.pruning is None and trial.verdict == "Good"]
    if not good:
        return Method()

    def worth(trial: Trial) -> tuple[float, str]:
        slower = not facts.depthwise and not _computes(trial.method)
        return trial.footprint * (NO_FASTER if slower else 1.0), trial.method.name

    return min(good, key=worth).method


def _computes(method: Method) -> bool:
    """Whether it computes in integers."""
    return method.quantization is not None and method.quantization.method not in AS_FLOATS


def _integers(facts: Facts, tried: dict[Method, Trial]) -> Iterator[Method]:
    if not facts.has_dataset:
        # Nothing can judge what comes out, so only what changes the answers least.
        yield from (Method(quantization=DYNAMIC), Method(quantization=HALF))
        return
    if facts.hurried:
        yield Method(quantization=WEIGHTS)
        if facts.products:
            yield Method(quantization=WIDENED)
        if best_quantization(facts, tried) == Method():
            yield Method(quantization=HALF)
    yield Method(quantization=STATIC)
    if facts.multiplies:
        yield from (Method(quantization=FUSED), Method(quantization=DYNAMIC))
    if facts.depthwise:
        yield Method(quantization=WEIGHTS)
    for fallback in (*(COLUMNS if facts.multiplies else ()), *FALLBACKS):
        best = best_quantization(facts, tried)
        if _computes(best) or (facts.depthwise and best != Method()):
            break
        yield fallback
    for stored, share in ((WEIGHTS, QUARTER), *(((WIDENED, QUARTER),) if facts.products else ()), (HALF, HALVES)):
        best = best_quantization(facts, tried)
        if best == Method() or tried[best].footprint > share * facts.footprint > 0:
            yield Method(quantization=stored)


def recovery(facts: Facts, share: float) -> Recovery | None:
    """The training of a model without this share of its weights, within ``facts.work``; None where that is too little.

    Arithmetic shrinks about as the weights do. Where branches may go, more than channels is to be made up for, and an
    epoch of small operators takes little: there it may be LONGER.
    """
    most = Recovery().epochs * (LONGER if facts.branches else 1)
    work = facts.epoch * (1 - share)
    epochs = most if work * most <= facts.work else int(facts.work / work)
    return Recovery(epochs=epochs) if facts.can_train and epochs >= MIN_EPOCHS else None


def _zeros(facts: Facts, tried: dict[Method, Trial]) -> Iterator[Method]:
    if facts.has_dataset:
        yield _magnitude(facts, tried, None)


def _trained_zeros(facts: Facts, tried: dict[Method, Trial]) -> Iterator[Method]:
    plain, training = _magnitude(facts, tried, None), recovery(facts, 0.0)
    if training is None or plain not in tried or tried[plain].verdict != "Lossy":
        return
    if not any(trial.verdict == "Good" and method.pruning for method, trial in tried.items()):
        yield _magnitude(facts, tried, training)


def _magnitude(facts: Facts, tried: dict[Method, Trial], training: Recovery | None) -> Method:
    best = best_quantization(facts, tried)
    return Method(Pruning(sparsity=MAGNITUDE_SPARSITY), training, best.quantization, best.mixed)


def _branches(facts: Facts, tried: dict[Method, Trial]) -> Iterator[Method]:
    training = recovery(facts, 0.0)
    if not (facts.has_dataset and facts.branches) or training is None:
        return
    best, verdicts = best_quantization(facts, tried), _depths(tried)
    depth = next_share(verdicts, BOLD_SHARE)
    # Of few branches two shares may be as many.
    if round(depth * facts.branches) not in {round(share * facts.branches) for share in verdicts}:
        yield Method(Pruning(depth=depth), training, best.quantization, best.mixed)


def _depths(tried: dict[Method, Trial]) -> dict[float, Verdict]:
    """What came of taking out shares of the residual branches, and nothing else."""
    return {
        method.pruning.depth: trial.verdict
        for method, trial in tried.items()
        if method.pruning and method.pruning.depth and not method.pruning.sparsity
    }


def _channels(facts: Facts, tried: dict[Method, Trial]) -> Iterator[Method]:
    if not (facts.has_dataset and facts.prunable):
        return
    best = best_quantization(facts, tried)
    depth = max((depth for depth, verdict in _depths(tried).items() if verdict == "Good"), default=0.0)

    def training(share: float) -> Recovery | None:
        # Beside the branches as it was for them alone: that training is what this one goes on from.
        return recovery(facts, 0.0 if depth else share)

    def at(share: float) -> Method:
        pruning = Pruning(sparsity=share, depth=depth, method="Structured")
        return Method(pruning, training(share), best.quantization, best.mixed)

    verdicts = {
        method.pruning.sparsity: trial.verdict
        for method, trial in tried.items()
        if method.pruning and method.pruning.method == "Structured" and method == at(method.pruning.sparsity)
    }
    zeros = tried.get(_magnitude(facts, tried, None))
    easy = zeros is not None and zeros.verdict == "Good"
    bold = BOLD_SHARE if easy or depth >= BOLD_SHARE else FIRST_SHARE
    first = bold if training(FIRST_SHARE) else UNTRAINED_SHARE
    if first == UNTRAINED_SHARE and verdicts.get(first, "Good") != "Good":
        return
    yield at(next_share(verdicts, first))


def next_share(verdicts: dict[float, Verdict], first: float = FIRST_SHARE) -> float:
    """What to take out next: ``first``; half of what is left, while all goes well; else a share between good and bad.

    A share that was tried again where there is no other that is worth it.
    """
    if not verdicts:
        return first
    low = max((share for share, verdict in verdicts.items() if verdict == "Good"), default=0.0)
    high = min((share for share, verdict in verdicts.items() if verdict != "Good" and share > low), default=1.0)
    if high == 1.0:
        middle = (low + high) / 2
        return middle if middle <= LARGEST_SHARE else low
    if low:
        return (low + high) / 2 if high - low > FINEST_STEP else low
    return max(FIRST_SHARE if high > FIRST_SHARE else high / 2, min(MIN_SHARE, high))
