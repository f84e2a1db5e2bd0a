"""Quality against the labels of a dataset: which output they belong to, what is measured, and the measure itself."""

import numpy as np

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_contract.quality import LABELLED, Metric
from edgemodel_contract.task import TensorSpec

TOP = 5
_NEEDS: dict[Metric, str] = {
    "Top1": "one integer class per sample as labels",
    "Top5": f"one integer class per sample as labels, and a model of more than {TOP} classes",
    "Perplexity": "one token per position as labels",
    "MSE": "float targets as labels",
}


def metric_for(output: TensorSpec, labels: Array | None, named: Metric | None = None) -> Metric | None:
    """What is ``named``, or what tells most about ``output`` on these labels; None without labels: then the graph
    tells.

    Raises:
        TaskError: InvalidTask where labels or outputs are not such that the named metric could be measured.
    """
    usual = _usual_metric(labels)
    if named is None or named == usual or named not in LABELLED:
        return named or usual
    if named == "Top5" and usual == "Top1" and (output.shape[-1] > TOP or output.shape[-1] == -1):
        return named
    raise TaskError(
        "InvalidTask",
        f"compression.metric is {named}, which needs {_NEEDS[named]}; leave it out to have "
        f"{usual or 'closeness to the original'} measured, or give such a dataset.",
    )


def against_label(metric: Metric, output: Array, label: Array) -> float:
    """The ``metric`` of one sample: 1 or 0 for classes, a negative log-likelihood for tokens, a squared error."""
    if metric == "Top1":
        best = output.argmax(axis=-1) if output.dtype.kind == "f" else output
        return float(best.ravel()[0] == label)
    if metric == "Top5":
        # Of equal scores the first counts as best, as in argmax; what is no number comes last.
        best = np.argsort(-output.astype(np.float64).reshape(-1), kind="stable")[:TOP]
        return float(label in best)
    if metric == "MSE":
        return float(np.mean((output.astype(np.float64).ravel() - label.astype(np.float64).ravel()) ** 2))
    return _negative_log_likelihood(output, label)


def _usual_metric(labels: Array | None) -> Metric | None:
    if labels is None:
        return None
    if labels.dtype.kind == "f":
        return "MSE"
    return "Perplexity" if labels.ndim == 2 else "Top1"


def _negative_log_likelihood(logits: Array, tokens: Array) -> float:
    """Mean over positions. ``logits`` (1, positions, words), ``tokens`` (positions,); a negative token is left out."""
    scores = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    kept = tokens >= 0
    scores, wanted = scores[kept], tokens[kept]
    scores -= scores.max(axis=1, keepdims=True)
    likelihood = scores[np.arange(len(wanted)), wanted] - np.log(np.exp(scores).sum(axis=1))
    return float(-likelihood.mean()) if len(wanted) else 0.0
