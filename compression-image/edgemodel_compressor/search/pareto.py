"""Which candidates no other beats in everything. Pure."""

from collections.abc import Sequence

from edgemodel_contract.pareto import pareto_front
from edgemodel_contract.quality import lost
from edgemodel_contract.result import Candidate, Measurement


def pareto(candidates: Sequence[Candidate], *, timed: bool = True) -> frozenset[str]:
    """Methods of the candidates that no other one is at least as small, fast and good as, and better in one of these.

    Without ``timed`` multiply-accumulate operations stand for speed: they are the same on every run.
    """
    return pareto_front({item.method: _point(item.measured, timed) for item in candidates})


def _point(measured: Measurement, timed: bool) -> tuple[float, float, float]:
    stored = measured.size if measured.layer_size is None else measured.layer_size
    speed = measured.latency_p50 if timed else measured.macs
    # Of two candidates the one that loses less is the better one, whatever is being measured.
    loss = 0.0 if measured.accuracy is None else lost(measured.metric, 1.0, measured.accuracy)
    return (float(measured.size + stored), float(speed or 0.0), loss)
