"""Which candidates nobody beats."""

from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.search.pareto import pareto
from edgemodel_contract.quality import Metric
from edgemodel_contract.result import Candidate, Measurement


def candidate(method: str, size: int, ms: float, accuracy: float, metric: Metric = "Top1", macs: int = 1) -> Candidate:
    measured = Measurement(size=size, latency_p50=ms / 1000, accuracy=accuracy, metric=metric, macs=macs)
    return Candidate(method=method, measured=measured)


def test_what_is_larger_slower_and_worse_is_beaten() -> None:
    small, worse = candidate("small", 10, 5, 0.9), candidate("worse", 20, 6, 0.8)
    assert pareto([small, worse]) == {"small"}


def test_each_may_be_best_at_something() -> None:
    found = pareto([candidate("small", 1, 9, 0.8), candidate("fast", 9, 1, 0.8), candidate("good", 9, 9, 0.99)])
    assert found == {"small", "fast", "good"}


def test_of_errors_less_is_better() -> None:
    sure, unsure = candidate("sure", 10, 5, 3.0, "Perplexity"), candidate("unsure", 10, 5, 9.0, "Perplexity")
    assert pareto([sure, unsure]) == {"sure"}


def test_without_a_clock_multiplications_stand_for_speed() -> None:
    slim, wide = candidate("slim", 10, 9, 0.9, macs=1), candidate("wide", 10, 1, 0.9, macs=5)
    assert pareto([slim, wide], timed=False) == {"slim"}
    assert pareto([slim, wide]) == {"wide"}


POINTS = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))


@given(st.lists(POINTS, min_size=1, max_size=12))
def test_somebody_is_best_and_everybody_else_is_beaten_by_one_of_them(
    points: list[tuple[int, int, int]],
) -> None:
    everything = [candidate(f"m{n}", size, ms, good / 10) for n, (size, ms, good) in enumerate(points)]
    best = pareto(everything)
    assert best
    for index, point in enumerate(points):
        if f"m{index}" not in best:
            assert any(
                rival[0] <= point[0] and rival[1] <= point[1] and rival[2] >= point[2]
                for n, rival in enumerate(points)
                if f"m{n}" in best
            )
