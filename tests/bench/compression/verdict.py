"""What the figures of a row say: whether a peer is as good as ours in everything, and which goals are met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tests.bench.report import Goal

NOISE = 0.05
"""Latencies that differ by less say nothing."""
SLOWEST = 2.0
"""How often as long as the slowest peer Auto may take."""


@dataclass(frozen=True)
class Judged:
    """What was measured on one tool's model."""

    tool: str
    size: int
    """Bytes on disk."""
    seconds: float
    """Median of single runs."""
    quality: float
    """More is better: the share of classes that are right, or the inverse of the perplexity."""
    wall: float = 0.0
    """Seconds that the tool took to make it."""


@dataclass(frozen=True)
class Target:
    """What a row asks of ours, against FP32: times smaller, times faster, and the most points of accuracy to lose."""

    smaller: float
    faster: float
    lost: float


TARGETS: Mapping[str, Target] = {
    "resnet18": Target(12, 6, 1.0),
    "mobilenetv2": Target(4, 2, 1.0),
    "encoder": Target(3.9, 2.5, 0.5),
}
"""Rows without one are compared with the peers, and nothing else."""


def averaged(seeds: Sequence[Sequence[Judged]]) -> list[Judged]:
    """Of each tool that made a model with every seed, the means: goals are about these."""
    tools = [one.tool for one in seeds[0] if all(any(other.tool == one.tool for other in judged) for judged in seeds)]
    return [
        Judged(
            tool,
            round(fmean(one.size for one in of(seeds, tool))),
            fmean(one.seconds for one in of(seeds, tool)),
            fmean(one.quality for one in of(seeds, tool)),
            fmean(one.wall for one in of(seeds, tool)),
        )
        for tool in tools
    ]


def of(seeds: Sequence[Sequence[Judged]], tool: str) -> list[Judged]:
    """What was measured on the models of ``tool``, one for each seed."""
    return [one for judged in seeds for one in judged if one.tool == tool]


def as_good(peer: Judged, ours: Judged) -> bool:
    """Whether the peer's model is at once as small, as fast and as accurate as ours."""
    return peer.size <= ours.size and peer.seconds <= ours.seconds * (1 + NOISE) and peer.quality >= ours.quality


def points_lost(original: Judged, other: Judged) -> float:
    """Of quality; less than nothing where the other is better."""
    return 100 * (original.quality - other.quality)


def row_goals(row: str, original: Judged, ours: Judged, peers: Sequence[Judged]) -> list[Goal]:
    """The goals that the row bears on; those about peers only where there are any."""
    goals = []
    if target := TARGETS.get(row):
        goals += [
            Goal(f"{row}: times smaller than FP32", original.size / ours.size, target.smaller, at_least=True),
            Goal(f"{row}: times faster than FP32", original.seconds / ours.seconds, target.faster, at_least=True),
            Goal(f"{row}: points of accuracy lost", round(points_lost(original, ours), 6), target.lost),
        ]
    if peers:
        equals = sum(as_good(peer, ours) for peer in peers)
        goals.append(Goal(f"{row}: peers as small, fast and accurate", equals, 0))
        slowest = max(peer.wall for peer in peers)
        goals.append(Goal(f"{row}: Auto's time, times the slowest peer's", ours.wall / slowest, SLOWEST))
    return goals
