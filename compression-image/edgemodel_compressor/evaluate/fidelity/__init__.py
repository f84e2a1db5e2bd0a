"""How close a candidate's answers are to the original's: a module per kind of output, each a pure function of arrays.

Every function takes an output of both models, an array per sample in the same order, and returns a ``Fidelity``.
``compare`` calls the one that a metric names, and takes everything away from answers that no longer follow the
original's.
"""

from collections.abc import Callable, Mapping

from edgemodel_compressor.evaluate.fidelity.classes import classes
from edgemodel_compressor.evaluate.fidelity.dependence import dependence
from edgemodel_compressor.evaluate.fidelity.embeddings import embeddings
from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity
from edgemodel_compressor.evaluate.fidelity.scores import scores
from edgemodel_compressor.evaluate.fidelity.sequences import sequences
from edgemodel_compressor.evaluate.fidelity.values import values
from edgemodel_contract.quality import Metric

Compare = Callable[[Answers, Answers], Fidelity]

BY_METRIC: Mapping[Metric, Compare] = {
    "Agreement": classes,
    "Scores": scores,
    "Values": values,
    "Sequence": sequences,
    "Cosine": embeddings,
}
"""``boxes`` is not among them: detections may be spread over several outputs (``boxes.detections``)."""


def compare(metric: Metric, original: Answers, candidate: Answers) -> Fidelity:
    """How close ``candidate`` is to ``original`` by ``metric``; nothing is left where it does not follow the input."""
    return dependence(original, candidate).applied_to(BY_METRIC[metric](original, candidate))
