"""``make corpus``: every model by every method, a table, and ``build/corpus.json`` with goals."""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.report import Goal, goal_rows, table
from tests.corpus.catalogue import STRANGERS
from tests.corpus.running import METHODS, Result, compress

TARGET = Path(__file__).parents[2] / "build" / "corpus.json"
SENTENCE = re.compile(r"edgemodel-compress: .*[;:,] .*\.$")
"""A refusal says what is wrong and what to do."""
SILENCE = 8.0
"""Seconds without a word: those of the program's own five, and of starting Python on a busy machine."""


def main() -> int:
    """Run what the arguments name; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="make corpus", description=__doc__)
    parser.add_argument("--only", action="append", choices=[stranger.name for stranger in STRANGERS])
    parser.add_argument("--method", action="append", choices=list(METHODS))
    parser.add_argument("--time", default="60s", help="what Auto is given, in seconds (default: 60s)")
    options = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        for stranger in STRANGERS:
            if options.only and stranger.name not in options.only:
                continue
            for method in options.method or METHODS:
                results.append(compress(stranger, method, options.time, Path(folder) / stranger.name))
                print(" ".join(_row(results[-1])), file=sys.stderr, flush=True)
    goals = measured(results, float(options.time.rstrip("s")))
    table([("model", "method", "exit", "size", "speed", "judge", "time", "silence", "memory"), *map(_row, results)])
    table(goal_rows(goals))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    listed = [asdict(goal) | {"met": goal.met} for goal in goals]
    TARGET.write_text(json.dumps({"goals": listed, "results": [asdict(item) for item in results]}, indent=2) + "\n")
    return 0 if all(goal.met for goal in goals) else 1


def measured(results: Sequence[Result], limit: float) -> list[Goal]:
    """What must hold of all runs."""
    searched = [item for item in results if item.method == "auto"]
    refused = [item for item in results if item.run.code]
    late = max((item.run.seconds - item.run.loading for item in searched), default=0.0)
    return [
        Goal("tracebacks", sum(item.run.traceback for item in results), 0),
        Goal("choices of Auto that the judge rejects", _rejected(searched), 0),
        Goal("refusals that are not one sentence", sum(not SENTENCE.match(item.run.said) for item in refused), 0),
        Goal("refusals of Auto and None", sum(item.method != "manual" for item in refused), 0),
        Goal("longest search over what it was given", round(late / limit, 3), 1.1),
        Goal("longest silence, s", round(max((item.run.silence for item in results), default=0.0), 1), SILENCE),
    ]


def _rejected(results: Iterable[Result]) -> int:
    return sum(item.judgement is not None and not item.judgement.kept for item in results)


def _row(item: Result) -> tuple[str, ...]:
    judgement = item.judgement
    return (
        item.name,
        item.method,
        str(item.run.code),
        "-" if item.size is None else f"{100 * item.size:.0f} %",
        "-" if item.speed is None else f"{item.speed:.2f} ×",
        "-" if judgement is None else f"{judgement.same:.3f} {'✓' if judgement.kept else '✗'}",
        f"{item.run.seconds:.0f} s",
        f"{item.run.silence:.1f} s",
        f"{item.run.peak / 2**20:.0f} MiB",
    )


if __name__ == "__main__":
    sys.exit(main())
