"""The choice: it keeps every promise, prefers the smallest, and gives every loser its reason."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.search.choose import DEFAULT_ACCURACY_DROP, LATENCY_NOISE, accuracy_drop, choose
from edgemodel_contract.quality import Metric
from edgemodel_contract.result import Candidate, Measurement, OutputQuality
from edgemodel_contract.task import Mode, Objectives


def candidate(
    method: str, size: int = 100, ms: float = 10.0, accuracy: float | None = 0.9, layer: int | None = None
) -> Candidate:
    measured = Measurement(
        size=size * 1000,
        layer_size=(size if layer is None else layer) * 1000,
        latency_p50=ms / 1000,
        latency_p95=1.2 * ms / 1000,
        accuracy=accuracy,
        metric=None if accuracy is None else "Top1",
        samples=0 if accuracy is None else 100,
    )
    return Candidate(method=method, measured=measured)


ORIGINAL = candidate("original")
NO_OBJECTIVES = Objectives()


def chosen(*compressed: Candidate, objectives: Objectives = NO_OBJECTIVES, mode: Mode = "Auto") -> str | None:
    choice = choose(ORIGINAL, compressed, objectives, mode)
    return choice.chosen.method if choice.chosen else None


def reason(method: str, *compressed: Candidate, objectives: Objectives = NO_OBJECTIVES) -> str:
    choice = choose(ORIGINAL, compressed, objectives, "Auto")
    found = next(item for item in (*choice.others, choice.closest) if item and item.method == method)
    return found.rejected or ""


def test_auto_takes_the_smallest_that_is_as_good() -> None:
    assert chosen(candidate("a", size=50), candidate("b", size=25), candidate("c", size=30)) == "b"


def test_of_two_that_are_about_as_small_the_one_that_is_clearly_faster_is_taken() -> None:
    weights, integers = candidate("weights", size=250), candidate("integers", size=255, ms=4)
    assert chosen(weights, integers) == "original"
    weights, integers = candidate("weights", size=50), candidate("integers", size=51, ms=4)
    assert chosen(weights, integers) == "integers"
    assert reason("weights", weights, integers) == "slower than integers, and hardly smaller"
    assert chosen(weights, candidate("integers", size=51, ms=9.5)) == "weights"
    assert chosen(weights, candidate("integers", size=60, ms=4)) == "weights"


def test_what_a_busy_machine_adds_to_some_runs_makes_no_model_slower() -> None:
    disturbed = candidate("a", size=50, ms=13)
    assert chosen(disturbed) == "original"
    choice = choose(ORIGINAL, [disturbed], NO_OBJECTIVES, "Auto", quickest={"original": 0.008, "a": 0.008})
    assert choice.chosen is not None
    assert choice.chosen.method == "a"
    slow = choose(ORIGINAL, [disturbed], NO_OBJECTIVES, "Auto", quickest={"original": 0.008, "a": 0.009})
    assert slow.others[0].rejected == "slower: 9ms > original 8ms"


def test_what_is_pruned_is_smaller_by_its_layer() -> None:
    assert chosen(candidate("a", size=25, layer=20), candidate("b", size=25, layer=12)) == "b"


def test_auto_keeps_the_original_rather_than_something_worse() -> None:
    assert chosen(candidate("lossy", size=20, accuracy=0.88)) == "original"
    assert chosen(candidate("slow", size=20, ms=11)) == "original"
    assert chosen(candidate("large", size=101)) == "original"
    assert chosen() == "original"


@pytest.mark.parametrize(
    ("samples", "wrong", "objectives", "taken"),
    [
        # Of few samples one is more than a point, and says nothing.
        (64, 1, NO_OBJECTIVES, True),
        (64, 2, NO_OBJECTIVES, False),
        (1000, 10, NO_OBJECTIVES, True),
        (1000, 11, NO_OBJECTIVES, False),
        # What somebody asked for is what they get.
        (64, 1, Objectives(max_accuracy_drop=0.01), False),
    ],
)
def test_at_least_one_answer_may_be_another(samples: int, wrong: int, objectives: Objectives, taken: bool) -> None:
    def right(method: str, size: int, count: int) -> Candidate:
        item = candidate(method, size=size, accuracy=count / samples)
        return msgspec.structs.replace(item, measured=msgspec.structs.replace(item.measured, samples=samples))

    choice = choose(right("original", 100, samples), [right("small", 20, samples - wrong)], objectives, "Auto")
    assert choice.chosen is not None
    assert choice.chosen.method == ("small" if taken else "original")


def test_noise_in_the_latency_is_not_called_slower() -> None:
    assert chosen(candidate("same", size=20, ms=10.4)) == "same"


def test_a_loss_of_one_point_is_still_allowed() -> None:
    assert chosen(candidate("edge", size=20, accuracy=0.89)) == "edge"


def test_without_a_dataset_accuracy_is_not_judged() -> None:
    original = candidate("original", accuracy=None)
    choice = choose(original, [candidate("dynamic", size=25, accuracy=None)], NO_OBJECTIVES, "Auto")
    assert choice.chosen is not None
    assert choice.chosen.method == "dynamic"


@pytest.mark.parametrize(
    ("loser", "objectives", "words"),
    [
        (candidate("a", size=20, accuracy=0.877), NO_OBJECTIVES, "accuracy drop 2.3% > 1%"),
        (candidate("a", size=20, ms=12), NO_OBJECTIVES, "slower: 12ms > original 10ms"),
        (candidate("a", size=120), NO_OBJECTIVES, "size 120 kB > original 100 kB"),
        (candidate("a", size=20), Objectives(max_size=10_000), "size 20 kB > 10 kB"),
        (candidate("a", size=20, ms=9), Objectives(max_latency=0.01), "latency p95 10.8ms > 10ms"),
        (
            candidate("a", size=20, accuracy=0.8, ms=9),
            Objectives(max_latency=0.01, max_accuracy_drop=0.05),
            "latency p95 10.8ms > 10ms, accuracy drop 10% > 5%",
        ),
    ],
)
def test_a_loser_has_its_reason(loser: Candidate, objectives: Objectives, words: str) -> None:
    assert reason("a", loser, objectives=objectives) == words


def test_one_that_is_good_but_not_the_smallest_says_so() -> None:
    assert reason("a", candidate("a", size=50), candidate("b", size=25)) == "larger than b"
    assert reason("original", candidate("b", size=25)) == "larger than b"


def test_objectives_may_allow_more_than_one_point() -> None:
    lossy = candidate("lossy", size=20, accuracy=0.86)
    assert chosen(lossy, objectives=Objectives(max_accuracy_drop=0.05)) == "lossy"


def test_an_objective_on_size_alone_does_not_give_accuracy_away() -> None:
    lossy = candidate("lossy", size=20, accuracy=0.3)
    assert chosen(lossy, objectives=Objectives(max_size=30_000)) is None


def test_speed_is_not_given_away_for_size_that_nobody_asked_for() -> None:
    slow, fast = candidate("slow", size=20, ms=60), candidate("fast", size=25)
    objectives = Objectives(max_size=50_000)
    assert chosen(slow, fast, objectives=objectives) == "fast"
    assert reason("slow", slow, fast, objectives=objectives) == "slower: 60ms > original 10ms"
    assert chosen(slow, objectives=objectives) == "slow"
    assert chosen(slow, fast, objectives=Objectives(max_size=50_000, max_latency=0.1)) == "slow"


def test_the_original_may_be_what_meets_the_objectives() -> None:
    assert chosen(candidate("lossy", size=20, accuracy=0.5), objectives=Objectives(max_size=200_000)) == "original"


def test_manual_has_only_what_it_names() -> None:
    named = candidate("prune-0.9", accuracy=0.2)
    assert chosen(named, mode="Manual") == "prune-0.9"
    assert chosen(named, mode="Manual", objectives=Objectives(max_accuracy_drop=0.01)) is None


def test_none_takes_the_original_and_still_checks_the_objectives() -> None:
    assert chosen(mode="None") == "original"
    assert chosen(mode="None", objectives=Objectives(max_size=50_000)) is None


def test_when_nothing_fits_the_closest_is_named() -> None:
    near, far = candidate("near", size=40), candidate("far", size=80)
    choice = choose(ORIGINAL, [far, near], Objectives(max_size=30_000), "Auto")
    assert choice.chosen is None
    assert choice.closest is not None
    assert (choice.closest.method, choice.closest.rejected) == ("near", "size 40 kB > 30 kB")
    assert {item.method for item in choice.others} == {"original", "far"}


def test_a_limit_of_zero_loss_still_finds_the_closest() -> None:
    a, b = candidate("a", size=10, accuracy=0.89), candidate("b", size=20, accuracy=0.895)
    choice = choose(ORIGINAL, [a, b], Objectives(max_accuracy_drop=0.0, max_size=50_000), "Auto")
    assert choice.closest is not None
    assert choice.closest.method == "b"


CANDIDATES = st.builds(
    candidate,
    method=st.just("?"),
    size=st.integers(1, 300),
    ms=st.floats(0.01, 100, allow_nan=False),
    accuracy=st.none() | st.floats(0, 1),
    layer=st.none() | st.integers(1, 300),
)
OBJECTIVES = st.builds(
    Objectives,
    max_size=st.none() | st.integers(1, 300_000),
    max_latency=st.none() | st.floats(0.0001, 0.2),
    max_accuracy_drop=st.none() | st.floats(0, 1),
)
MODES: st.SearchStrategy[Mode] = st.sampled_from(["Auto", "Manual", "None"])


@given(CANDIDATES, st.lists(CANDIDATES, max_size=5), OBJECTIVES, MODES)
def test_nothing_that_breaks_a_promise_is_ever_chosen(
    first: Candidate, rest: list[Candidate], objectives: Objectives, mode: Mode
) -> None:
    original = Candidate(method="original", measured=first.measured)
    compressed = [Candidate(method=f"m{index}", measured=item.measured) for index, item in enumerate(rest)]
    if mode == "Manual" and not compressed:
        return
    choice = choose(original, compressed, objectives, mode)
    everything = {item.method for item in (original, *compressed)}
    named = [item for item in (choice.chosen, choice.closest, *choice.others) if item]
    assert sorted(item.method for item in named) == sorted(everything)
    assert all(item.rejected for item in choice.others)
    if choice.chosen is None:
        assert choice.closest is not None
        assert choice.closest.rejected
        return
    assert choice.chosen.rejected is None
    measured, before = choice.chosen.measured, original.measured
    drop = accuracy_drop(measured, before)
    if objectives.max_size is not None:
        assert measured.size <= objectives.max_size
    if objectives.max_latency is not None:
        assert measured.latency_p95 is not None
        assert measured.latency_p95 <= objectives.max_latency
    if objectives.max_accuracy_drop is not None:
        assert drop is not None
        assert drop <= objectives.max_accuracy_drop + 1e-6
    elif mode == "Auto" and drop is not None:
        assert drop <= DEFAULT_ACCURACY_DROP + 1e-6
    if mode == "Auto" and objectives == Objectives() and choice.chosen.method != "original":
        assert measured.size <= before.size
        assert measured.latency_p50 is not None
        assert before.latency_p50 is not None
        assert measured.latency_p50 <= before.latency_p50 * (1 + LATENCY_NOISE)


@given(st.lists(CANDIDATES, max_size=5), OBJECTIVES)
def test_the_order_of_candidates_does_not_matter(rest: list[Candidate], objectives: Objectives) -> None:
    compressed = [Candidate(method=f"m{index}", measured=item.measured) for index, item in enumerate(rest)]
    forwards = choose(ORIGINAL, compressed, objectives, "Auto").chosen
    backwards = choose(ORIGINAL, compressed[::-1], objectives, "Auto").chosen
    assert forwards == backwards


def judged(method: str, lost: float, margin: float, metric: Metric = "Top1", samples: int = 400) -> Candidate:
    """A quarter of the original's size; one point may be lost."""
    output = OutputQuality(
        output="y", metric=metric, value=0.9 - lost, low=0.8, high=1.0, lost=lost, margin=margin, allowed=0.01
    )
    made = candidate(method, size=25, accuracy=0.9 - lost)
    measured = msgspec.structs.replace(made.measured, samples=samples, outputs=(output,))
    return msgspec.structs.replace(made, measured=measured)


def test_what_is_lost_must_be_allowed_with_what_it_may_be_off_by() -> None:
    lucky = judged("lucky", lost=0.0075, margin=0.0043)
    assert chosen(lucky) == "original"
    assert reason("lucky", lucky) == "accuracy drop 0.75% ± 0.43% > 1%"
    assert chosen(judged("sure", lost=0.0025, margin=0.0043)) == "sure"
    assert chosen(judged("exact", lost=0.01, margin=0.0)) == "exact"
