"""What the compression benchmark concludes from its figures."""

from dataclasses import replace

import numpy as np
import pytest

from tests.bench.compression.__main__ import row_table
from tests.bench.compression.peer_scripts.quality import quality
from tests.bench.compression.scale import Scaled, scale_goals
from tests.bench.compression.verdict import Judged, as_good, averaged, row_goals
from tests.bench.report import Goal, goal_rows

FP32 = Judged("fp32", size=12_000, seconds=0.006, quality=0.98)
OURS = Judged("edgemodel", size=1_000, seconds=0.001, quality=0.97, wall=60)


@pytest.mark.parametrize(
    ("size", "seconds", "accuracy", "good"),
    [
        (1_000, 0.001, 0.97, True),
        (900, 0.0009, 0.98, True),
        (1_001, 0.0001, 0.99, False),
        (10, 0.0001, 0.968, False),
        (10, 0.00106, 0.99, False),
        (10, 0.00104, 0.99, True),
    ],
    ids=["the same", "better in all", "larger", "less accurate", "slower", "slower by less than noise"],
)
def test_a_peer_is_as_good_only_if_it_is_so_in_everything(
    size: int, seconds: float, accuracy: float, good: bool
) -> None:
    assert as_good(Judged("peer", size, seconds, accuracy), OURS) is good


def met(goals: list[Goal]) -> dict[str, bool]:
    return {goal.name.partition(": ")[2]: goal.met for goal in goals}


def test_goals_of_a_row_that_meets_them_all() -> None:
    peers = [replace(OURS, tool="larger", size=1_001, wall=30.0), replace(OURS, tool="slower", seconds=0.002, wall=1.0)]
    assert met(row_goals("resnet18", FP32, OURS, peers)) == {
        "times smaller than FP32": True,
        "times faster than FP32": True,
        "points of accuracy lost": True,
        "peers as small, fast and accurate": True,
        "Auto's time, times the slowest peer's": True,
    }


def test_goals_of_a_row_that_meets_none() -> None:
    ours = replace(OURS, size=1_001, seconds=0.00101, quality=0.969, wall=61.0)
    peers = [replace(ours, tool="equal", wall=30.0)]
    assert not any(goal.met for goal in row_goals("resnet18", FP32, ours, peers))


def test_a_row_without_a_target_is_compared_with_peers_alone() -> None:
    assert set(met(row_goals("vit", FP32, OURS, [replace(OURS, wall=30.0)]))) == {
        "peers as small, fast and accurate",
        "Auto's time, times the slowest peer's",
    }
    assert row_goals("vit", FP32, OURS, []) == []


def test_goals_are_about_the_means_of_the_tools_that_every_seed_has() -> None:
    second = [replace(FP32, size=14_000), replace(OURS, quality=0.95), replace(OURS, tool="once")]
    means = averaged([[FP32, OURS], second])
    assert [(one.tool, one.size) for one in means] == [("fp32", 13_000), ("edgemodel", 1_000)]
    assert means[1].quality == pytest.approx(0.96)
    assert row_table(False, [[FP32, OURS], second])[2][6] == "2.00 ± 1.41"
    assert row_table(False, [[FP32, OURS]])[2][6] == "1.00"


def stack(size: int, seconds: float, peak: int = 0) -> Scaled:
    return Scaled("dynamic", size, size // 4, seconds, peak)


@pytest.mark.parametrize(("last", "linear"), [(70.0, True), (200.0, False)])
def test_time_is_linear_when_a_fixed_start_is_taken_away(last: float, linear: bool) -> None:
    goals = scale_goals([stack(100, 14.0), stack(400, 26.0), stack(1_500, last)])
    assert [goal.met for goal in goals] == [linear]


def test_only_a_large_model_must_keep_to_the_limit_of_memory() -> None:
    limit = 4 * 1_500_000_000 + 2**30
    assert scale_goals([stack(100_000_000, 1.0, peak=2**40)]) == []
    assert [goal.met for goal in scale_goals([stack(1_500_000_000, 1.0, peak=limit)])] == [True]
    assert [goal.met for goal in scale_goals([stack(1_500_000_000, 1.0, peak=limit + 1)])] == [False]


def test_quality_of_classes_is_the_share_that_is_right() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert quality(scores, np.array([1, 0, 0, 1])) == 0.75


def test_quality_of_characters_is_the_inverse_of_the_perplexity() -> None:
    assert quality(np.zeros((3, 5, 8), np.float32), np.ones((3, 5), np.int64)) == pytest.approx(1 / 8)


def test_the_table_says_which_way_a_goal_goes() -> None:
    rows = goal_rows([Goal("times faster", 5.0, 6.0, at_least=True), Goal("points lost", 0.5, 1.0)])
    assert [row[2:] for row in rows[1:]] == [("≥ 6", "✗"), ("≤ 1", "✓")]
