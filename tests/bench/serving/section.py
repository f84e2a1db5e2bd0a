"""What one part of the benchmark finds, and what all parts are given."""

import math
from dataclasses import dataclass, field
from typing import Any

from edgemodel_contract.quantity import format_duration
from tests.bench.report import Goal
from tests.bench.serving.processes import Cpus


@dataclass(frozen=True)
class Setting:
    """``seconds`` is the length of one measurement; each is repeated ``rounds`` times, and the median counts."""

    cpus: Cpus
    seconds: float
    rounds: int
    restart_requests: int


@dataclass
class Section:
    """A table of what was measured, the goals it bears on, and what could not be measured, with the reason."""

    title: str
    rows: list[tuple[str, ...]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def duration(seconds: float) -> str:
    """For a table; a dash where there was nothing to measure."""
    return "–" if math.isnan(seconds) else format_duration(seconds)
