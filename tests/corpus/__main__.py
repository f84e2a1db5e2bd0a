"""``make corpus``: every model by every method and by the peers' defaults; a table, and goals in ``build/corpus.json``.

What the programs said and made stays in ``build/corpus/``. With ``--only`` and ``--method``, the JSON keeps results of
earlier runs with the same ``--time`` beside the new ones.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from edgemodel_compressor.evaluate.latency import cpu_name
from tests.bench.report import Goal, goal_rows, table
from tests.corpus.catalogue import STRANGERS
from tests.corpus.running import METHODS, PEERS, Result, compress

TARGET = Path(__file__).parents[2] / "build" / "corpus.json"
FOLDER = TARGET.with_suffix("")
SENTENCE = re.compile(r"edgemodel-compress: .*[;:,] .*\.$")
"""A refusal says what is wrong and what to do."""
SILENCE = 8.0
"""Seconds without a word: those of the program's own five, and of starting Python on a busy machine."""
NOISE = 0.1
"""Two timings of one model, each beside the original, differ by about so much."""
SAME_SIZE = 0.02
"""Files that differ by less hold the same weights in the same form."""


def main() -> int:
    """Run what the arguments name; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="make corpus", description=__doc__)
    parser.add_argument("--only", action="append", choices=[stranger.name for stranger in STRANGERS])
    parser.add_argument("--method", action="append", choices=[*METHODS, *PEERS])
    parser.add_argument("--time", default="60s", help="what Auto is given, in seconds (default: 60s)")
    options = parser.parse_args()
    known = {(item.name, item.method): item for item in _before(options.time)}
    for stranger in STRANGERS:
        if options.only and stranger.name not in options.only:
            continue
        for method in options.method or (*METHODS, *PEERS):
            made = known[stranger.name, method] = compress(stranger, method, options.time, FOLDER / stranger.name)
            print(" ".join(_row(made)), file=sys.stderr, flush=True)
    order = [stranger.name for stranger in STRANGERS]
    results = sorted(known.values(), key=lambda item: (order.index(item.name), [*METHODS, *PEERS].index(item.method)))
    goals = measured(results, float(options.time.rstrip("s")))
    table([("model", "method", "exit", "size", "speed", "judge", "time", "silence", "memory"), *map(_row, results)])
    table(goal_rows(goals))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    listed = [asdict(goal) | {"met": goal.met} for goal in goals]
    written = {"time": options.time, "cpu": cpu_name(), "goals": listed, "results": [asdict(item) for item in results]}
    TARGET.write_text(json.dumps(written, indent=2) + "\n")
    return 0 if all(goal.met for goal in goals) else 1


def _before(limit: str) -> list[Result]:
    """The results of earlier runs with the same time for Auto, of what there still is."""
    if not TARGET.exists():
        return []
    written = json.loads(TARGET.read_text())
    if written.get("time") != limit:
        return []
    names, methods = {stranger.name for stranger in STRANGERS}, {*METHODS, *PEERS}
    results = msgspec.convert(written["results"], list[Result])
    return [item for item in results if item.name in names and item.method in methods]


def measured(results: Sequence[Result], limit: float) -> list[Goal]:
    """What must hold of all runs."""
    every, results = results, [item for item in results if item.ours]
    searched = [item for item in results if item.method == "auto"]
    refused = [item for item in results if item.run.code]
    late = max((item.run.seconds - item.run.loading for item in searched), default=0.0)
    return [
        Goal("tracebacks", sum(item.run.traceback for item in results), 0),
        Goal("choices of Auto that the judge rejects", _rejected(searched), 0),
        Goal("refusals that are not one sentence", sum(not SENTENCE.match(item.run.said) for item in refused), 0),
        Goal("refusals of Auto and None", sum(item.method != "manual" for item in refused), 0),
        Goal("longest search over what it was given", round(late / limit, 3), 1.1),
        Goal("judges that take the answer to another sample for the same", _blind(every), 0),
        Goal("accepted models of peers that are smaller than Auto's", len(better(every, _smaller)), 0),
        Goal("accepted models of peers that are faster than Auto's", len(better(every, _faster)), 0),
        Goal("longest silence, s", round(max((item.run.silence for item in results), default=0.0), 1), SILENCE),
    ]


def better(results: Sequence[Result], than: Callable[[Result, Result], bool]) -> list[Result]:
    """The peers' models that the judge accepts and that are better ``than`` what Auto made of the same original."""
    ours = {item.name: item for item in results if item.method == "auto" and not item.run.code}
    return [
        item
        for item in results
        if not item.ours and item.judgement is not None and item.judgement.kept
        if item.name in ours and than(item, ours[item.name])
    ]


def _smaller(peer: Result, ours: Result) -> bool:
    return (peer.size or 1.0) * (1 + SAME_SIZE) < (ours.size or 1.0)


def _faster(peer: Result, ours: Result) -> bool:
    return (peer.speed or 0.0) > (1 + NOISE) * (ours.speed or 0.0)


def _blind(results: Iterable[Result]) -> int:
    return len({item.name for item in results if item.control is not None and item.control.kept})


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
