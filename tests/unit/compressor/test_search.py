"""What Auto tries next: a model is a table of verdicts, and the search is walked through it."""

import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.search.candidates import Method
from edgemodel_compressor.search.proposals import (
    FINEST_STEP,
    LARGEST_SHARE,
    MIN_EPOCHS,
    MIN_SHARE,
    STATIC,
    TRAINING_WORK,
    Facts,
    Trial,
    Verdict,
    next_share,
    propose,
    recovery,
)
from edgemodel_contract.task import Recovery

CONVOLUTIONS = Facts(has_dataset=True, can_train=True, epoch=1e9, prunable=True, multiplies=False)
PRODUCTS = Facts(has_dataset=True, can_train=True, epoch=1e9, prunable=True, multiplies=True)
MOST = 40

Evaluator = Callable[[Method], Verdict]


def walk(facts: Facts, judge: Evaluator) -> list[str]:
    """The names of all that is tried on a model that ``judge`` knows."""
    trials: list[Trial] = []
    while (method := propose(facts, trials)) is not None:
        assert method not in [trial.method for trial in trials], "nothing is tried twice"
        trials.append(Trial(method, judge(method), footprint(method)))
        assert len(trials) < MOST, "the search ends"
    return [trial.method.name for trial in trials]


def footprint(method: Method) -> int:
    """Integers take a quarter, half precision a half; what is pruned away takes nothing."""
    size = 1000 if method.quantization is None else 500 if method.quantization.method == "FP16" else 250
    return round(size * (1 - (method.pruning.sparsity if method.pruning else 0)))


def up_to(share: float) -> Evaluator:
    """Everything is good, but pruning beyond ``share`` loses too much."""
    return lambda method: "Good" if method.pruning is None or method.pruning.sparsity <= share else "Lossy"


def test_a_convolutional_network_takes_static_integers_and_as_few_channels_as_it_bears() -> None:
    assert walk(CONVOLUTIONS, up_to(0.8)) == [
        "static-int8",
        "prune-0.5+static-int8",
        "structured-0.75+recovered+static-int8",
        "structured-0.875+recovered+static-int8",
    ]


def test_a_network_that_zeros_do_harm_is_asked_for_fewer_channels_first() -> None:
    def judge(method: Method) -> Verdict:
        if method.pruning is None or (method.pruning.method == "Structured" and method.pruning.sparsity <= 0.8):
            return "Good"
        return "Lossy"

    assert walk(CONVOLUTIONS, judge)[2:] == [
        "structured-0.5+recovered+static-int8",
        "structured-0.75+recovered+static-int8",
        "structured-0.875+recovered+static-int8",
    ]
    few = [method for method in walk(CONVOLUTIONS, up_to(0.2)) if "structured" in method]
    assert few == [f"structured-{share}+recovered+static-int8" for share in (0.5, 0.25, 0.125)]


def test_a_network_of_products_tries_integers_without_calibration_too() -> None:
    tried = walk(PRODUCTS, up_to(0.0))
    assert tried[:3] == ["static-int8", "dynamic-int8-fused-half", "dynamic-int8"]
    assert any(name.startswith("structured-0.5+recovered") for name in tried)


def test_depthwise_convolutions_try_integers_for_the_weights_alone_too() -> None:
    facts = Facts(has_dataset=True, can_train=True, epoch=1e9, prunable=True, multiplies=False, depthwise=True)
    assert walk(facts, up_to(0.0))[:2] == ["static-int8", "weight-int8"]
    tried = walk(facts, lambda method: "Lossy" if "static" in method.name else "Good")
    assert "structured-0.75+recovered+weight-int8" in tried


def test_zeros_that_hurt_are_trained_where_no_channels_could_be_taken_out() -> None:
    tried = walk(CONVOLUTIONS, up_to(0.0))
    assert tried[1] == "prune-0.5+static-int8"
    assert tried[-1] == "prune-0.5+recovered+static-int8"


def test_zeros_that_hurt_are_left_where_channels_were_taken_out() -> None:
    tried = walk(CONVOLUTIONS, up_to(0.3))
    assert "prune-0.5+static-int8" in tried
    assert "structured-0.25+recovered+static-int8" in tried
    assert "prune-0.5+recovered+static-int8" not in tried


def test_integers_that_hurt_are_tried_with_tighter_ranges_and_then_with_floats_between() -> None:
    def judge(method: Method) -> Verdict:
        return "Good" if method.mixed else "Lossy"

    tried = walk(CONVOLUTIONS, judge)
    assert tried[:4] == ["static-int8", "static-int8-percentile", "static-int8-entropy", "static-int8-mixed"]
    assert all("mixed" in name for name in tried[3:]), "what did best is what pruning goes on with"
    assert "fp16" not in tried


def test_products_that_one_scale_hurts_get_one_per_column_before_floats_are_put_between() -> None:
    def judge(method: Method) -> Verdict:
        return "Good" if method.quantization is not None and method.quantization.columns else "Lossy"

    tried = walk(PRODUCTS, judge)
    assert tried[3] == "dynamic-int8-columns-fused-half"
    assert not any("percentile" in name or "mixed" in name for name in tried)
    assert "dynamic-int8-columns" not in " ".join(walk(CONVOLUTIONS, lambda _: "Lossy"))


def test_where_no_integers_compute_well_enough_weights_alone_are_what_is_left_and_then_half_precision() -> None:
    def only(*methods: str) -> Evaluator:
        return lambda method: (
            "Lossy" if method.quantization is not None and method.quantization.method not in methods else "Good"
        )

    tried = walk(CONVOLUTIONS, only("WeightOnly", "FP16"))
    assert tried[4] == "weight-int8"
    assert "structured-0.75+recovered+weight-int8" in tried
    assert "fp16" not in tried
    tried = walk(CONVOLUTIONS, only("FP16"))
    assert tried[4:6] == ["weight-int8", "fp16"]
    assert "structured-0.75+recovered+fp16" in tried


def test_what_integers_reached_a_part_of_only_is_stored_in_less_too() -> None:
    known = replace(CONVOLUTIONS, footprint=1000)
    assert walk(known, up_to(0.0))[:2] == ["static-int8", "prune-0.5+static-int8"]
    few = [Trial(method, "Good", 780) for method in (Method(quantization=STATIC),)]
    found = propose(known, few)
    assert found is not None
    assert found.name == "weight-int8"
    second = propose(known, [*few, Trial(found, "Impossible")])
    assert second is not None
    assert second.name == "fp16"


def test_in_a_hurry_what_needs_no_calibration_comes_first_and_gives_way_to_what_computes_in_integers() -> None:
    hurried = replace(CONVOLUTIONS, hurried=True)
    tried = walk(hurried, up_to(0.0))
    assert tried[:3] == ["weight-int8", "static-int8", "prune-0.5+static-int8"]
    lossy = walk(hurried, lambda method: "Lossy" if "static" in method.name else "Good")
    assert lossy[:5] == [
        "weight-int8", "static-int8", "static-int8-percentile", "static-int8-entropy", "static-int8-mixed"
    ]  # fmt: skip
    assert "prune-0.5+weight-int8" in lossy
    products = replace(hurried, products=True)
    assert walk(products, up_to(0.0))[:3] == [
        "weight-int8",
        "weight-int8-widened",
        "static-int8",
    ]
    assert walk(hurried, lambda _: "Lossy")[:3] == ["weight-int8", "fp16", "static-int8"]


SMALL_OPERATORS = Facts(has_dataset=True, can_train=True, epoch=1e9, prunable=True, multiplies=False, branches=10)


def as_deep_as(depth: float, share: float) -> Evaluator:
    """Branches up to ``depth`` may go, and beside them channels up to ``share``."""

    def judge(method: Method) -> Verdict:
        pruning = method.pruning
        return "Good" if pruning is None or (pruning.depth <= depth and pruning.sparsity <= share) else "Lossy"

    return judge


def test_where_operators_are_small_branches_go_first_and_then_channels_of_what_is_left() -> None:
    assert walk(SMALL_OPERATORS, as_deep_as(0.8, 0.3)) == [
        "static-int8",
        "prune-0.5+static-int8",
        "depth-0.75+recovered+static-int8",
        "depth-0.875+recovered+static-int8",
        "depth-0.75+structured-0.75+recovered+static-int8",
        "depth-0.75+structured-0.5+recovered+static-int8",
        "depth-0.75+structured-0.25+recovered+static-int8",
    ]


def test_of_few_branches_each_number_is_tried_once() -> None:
    facts = replace(SMALL_OPERATORS, branches=4)
    tried = [name for name in walk(facts, lambda _: "Good") if "structured" not in name and "depth" in name]
    assert tried == [f"depth-{share}+recovered+static-int8" for share in (0.75, 0.875)]


def test_where_no_branch_can_go_channels_are_taken_out_of_the_whole_model() -> None:
    tried = walk(SMALL_OPERATORS, as_deep_as(0.0, 0.6))
    assert "structured-0.5+recovered+static-int8" in tried
    assert not any(name.startswith("depth") and "structured" in name for name in tried)


def test_branches_stay_where_nothing_can_be_trained() -> None:
    facts = replace(SMALL_OPERATORS, can_train=False)
    assert not any("depth" in name for name in walk(facts, lambda _: "Good"))


UNTRAINED = Facts(has_dataset=True, can_train=False, epoch=1e9, prunable=True, multiplies=False)
TOO_LARGE = Facts(has_dataset=True, can_train=True, epoch=2 * TRAINING_WORK, prunable=True, multiplies=False)


@pytest.mark.parametrize("facts", [UNTRAINED, TOO_LARGE], ids=["no samples to train on", "too large to be trained"])
def test_what_is_not_trained_gives_a_few_channels_or_none(facts: Facts) -> None:
    assert walk(facts, up_to(0.1))[2:] == ["structured-0.125+static-int8"]
    assert "structured-0.5625+static-int8" in walk(facts, up_to(0.2))
    assert not any("recovered" in name for name in walk(facts, up_to(0.2)))


@given(st.floats(1e3, 1e14), st.floats(0, LARGEST_SHARE))
def test_a_training_is_within_its_work_or_there_is_none(epoch: float, share: float) -> None:
    training = recovery(Facts(has_dataset=True, can_train=True, epoch=epoch, prunable=True, multiplies=False), share)
    if training is None:
        assert epoch * (1 - share) * MIN_EPOCHS > TRAINING_WORK
    else:
        assert MIN_EPOCHS <= training.epochs <= Recovery().epochs
        assert epoch * (1 - share) * training.epochs <= TRAINING_WORK * (1 + 1e-9)


def test_without_a_dataset_nothing_is_tried_that_could_change_the_answers_unseen() -> None:
    facts = Facts(has_dataset=False, can_train=False, epoch=0.0, prunable=False, multiplies=True)
    assert walk(facts, lambda _: "Good") == ["dynamic-int8", "fp16"]


def test_what_is_impossible_for_a_model_stops_nothing() -> None:
    tried = walk(CONVOLUTIONS, lambda _: "Impossible")
    assert "fp16" in tried
    assert "structured-0.5+recovered" in tried


@given(st.floats(0, 1), st.sampled_from([0.125, 0.5, 0.75]))
def test_the_search_ends_soon_and_close_to_what_can_go(truth: float, first: float) -> None:
    verdicts: dict[float, Verdict] = {}
    while (share := next_share(verdicts, first)) not in verdicts:
        assert 0 < share <= LARGEST_SHARE
        verdicts[share] = "Good" if share <= truth else "Lossy"
        assert len(verdicts) <= 6
    best = max((share for share, verdict in verdicts.items() if verdict == "Good"), default=0.0)
    if truth >= LARGEST_SHARE:
        assert 1 - best < 2 * (1 - LARGEST_SHARE)
    elif best:
        assert truth - best <= FINEST_STEP
    else:
        assert truth < MIN_SHARE


@pytest.mark.parametrize("facts", [CONVOLUTIONS, PRODUCTS])
@given(seed=st.integers(0, 2**16))
def test_the_search_ends_whatever_comes_out(facts: Facts, seed: int) -> None:
    def judge(method: Method) -> Verdict:
        choice = zlib.crc32(f"{seed} {method.name}".encode()) % 4
        found: Verdict = ("Good", "Lossy", "Larger", "Impossible")[choice]
        return found

    assert walk(facts, judge)
