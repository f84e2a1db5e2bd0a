"""What a benchmark hands over: a table for people, JSON for machines."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

FOLDER = Path(__file__).parents[2] / "build" / "bench"


@dataclass(frozen=True)
class Goal:
    """A figure that must not be above ``goal``; or not below it, with ``at_least``."""

    name: str
    value: float
    goal: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is not."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def write(name: str, goals: Iterable[Goal], details: dict[str, Any]) -> Path:
    """Write the JSON; answers its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / f"{name}.json"
    listed = [asdict(goal) | {"met": goal.met} for goal in goals]
    target.write_text(json.dumps({"goals": listed, **details}, indent=2) + "\n")
    return target


def table(rows: Iterable[tuple[str, ...]], out: TextIO = sys.stdout) -> None:
    """Columns as wide as they must be; the first one to the left, figures to the right."""
    lines = list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        out.write("  " + "  ".join(cells).rstrip() + "\n")


def goal_rows(goals: Iterable[Goal]) -> list[tuple[str, ...]]:
    """The table of the goals, with a heading."""
    rows = [
        (goal.name, f"{goal.value:.3g}", f"{'≥' if goal.at_least else '≤'} {goal.goal:g}", "✓" if goal.met else "✗")
        for goal in goals
    ]
    return [("goal", "measured", "wanted", ""), *rows]
