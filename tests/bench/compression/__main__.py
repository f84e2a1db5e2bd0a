"""``make bench-compression``: Auto beside what else compresses models; one run, a table per row.

Every tool gets the same model and the same samples, on the same machine, and one thread is what its model is judged
with. Accuracy is measured here, on samples that no tool has seen; latencies are measured by turns.
"""

import argparse
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgemodel_compressor.evaluate.latency import cpu_name
from tests.bench import report
from tests.bench.compression.judging import judge
from tests.bench.compression.models import ROWS, Prepared, Row, prepare
from tests.bench.compression.ours import compress
from tests.bench.compression.peers import PEERS, install, requirements
from tests.bench.compression.processes import ENVIRONMENT, ToolError
from tests.bench.compression.scale import SIZES, Scaled, measure, scale_goals
from tests.bench.compression.verdict import TARGETS, Judged, points_lost, row_goals
from tests.bench.report import Goal
from tools.localcluster.system.progress import Progress, clock

ORIGINAL, OURS = "fp32", "edgemodel"
SCALE = "scale"
TWICE = "encoder"
"""The row on which Auto runs a second time: the same model must come out."""
QUICK = (TWICE, SCALE)
NAMES = (*(row.name for row in ROWS), SCALE)


class Evaluation:
    """What has come of the run so far."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.progress = Progress()
        self.goals: list[Goal] = []
        self.failures: list[str] = []
        self.rows: dict[str, list[Judged]] = {}
        self.scaled: list[Scaled] = []
        self._python: Path | None = None

    def python(self) -> Path:
        """The peers' interpreter."""
        if self._python is None:
            with self.progress.step("the peers' virtual environment"):
                self._python = install()
        return self._python

    def row(self, row: Row) -> None:
        """Train, let every tool compress, judge, and print the table."""
        with self.progress.step(f"{row.name}: model"):
            prepared = prepare(row)
        folder = report.FOLDER / "compression" / row.name
        models, walls = {ORIGINAL: prepared.model}, {}
        try:
            options = limits(row.name)
            with self.progress.step(f"{row.name}: {OURS}"):
                ours = compress(prepared.model, prepared.dataset, folder / OURS, *options)
            models[OURS], walls[OURS] = ours.model, ours.run.seconds
            if row.name == TWICE:
                with self.progress.step(f"{row.name}: {OURS}, once more"):
                    again = compress(prepared.model, prepared.dataset, folder / f"{OURS}-again", *options)
                self.goals.append(Goal("digests of two runs on the same input", len({ours.digest, again.digest}), 1))
        except ToolError as error:
            self.failures.append(f"{row.name}: {OURS}: {error}")
        self._peers(prepared, folder, models, walls)
        with self.progress.step(f"{row.name}: judging"):
            judged = judge(models, walls, row.data().test, 5 if self.quick else 30)
        self.rows[row.name] = judged
        by_tool = {one.tool: one for one in judged}
        if OURS in by_tool:
            peers = [one for one in judged if one.tool not in (ORIGINAL, OURS)]
            self.goals += row_goals(row.name, by_tool[ORIGINAL], by_tool[OURS], peers)
        print(f"\n{row.title}")
        report.table(row_table(row, judged))
        print(flush=True)

    def _peers(self, prepared: Prepared, folder: Path, models: dict[str, Path], walls: dict[str, float]) -> None:
        for peer in PEERS:
            if prepared.row.name in peer.left_out:
                continue
            name = f"{prepared.row.name}: {peer.name}"
            try:
                python = self.python()
                with self.progress.step(name):
                    models[peer.name], walls[peer.name] = peer.compress(python, prepared, folder)
            except ToolError as error:
                self.failures.append(f"{name}: {error}")

    def scale(self) -> None:
        """Memory and time by size, and their table."""
        sizes = list(SIZES)[:1] if self.quick else list(SIZES)
        try:
            self.scaled = measure(report.FOLDER / "compression" / SCALE, sizes, self.progress)
        except ToolError as error:
            self.failures.append(f"{SCALE}: {error}")
            return
        self.goals += scale_goals(self.scaled)
        print("\nTime and memory by size")
        report.table(scale_table(self.scaled))
        print(flush=True)


def limits(row: str) -> tuple[str, ...]:
    """Auto is told what the row asks for of accuracy, less a margin; where that is nothing, Auto's own limit holds."""
    target = TARGETS.get(row)
    return ("--max-accuracy-drop", f"{target.lost - target.margin}%") if target else ()


def row_table(row: Row, judged: list[Judged]) -> list[tuple[str, ...]]:
    """A line per tool, with its ratios to FP32, which is the first."""
    original = judged[0]
    measured = "perplexity" if row.perplexity else "accuracy"
    rows: list[tuple[str, ...]] = [("tool", "MB", "smaller", "ms p50", "faster", measured, "lost", "took")]
    for one in judged:
        quality = f"{1 / one.quality:.3f}" if row.perplexity else f"{one.quality:.1%}"
        lost = f"{original.quality / one.quality - 1:.1%}" if row.perplexity else f"{points_lost(original, one):.1f}"
        rows.append(
            (
                one.tool,
                f"{one.size / 1e6:.2f}",
                f"{original.size / one.size:.2f}×",
                f"{one.seconds * 1000:.2f}",
                f"{original.seconds / one.seconds:.2f}×",
                quality,
                lost,
                clock(one.wall) if one.wall else "–",
            )
        )
    return rows


def scale_table(scaled: list[Scaled]) -> list[tuple[str, ...]]:
    """A line per recipe and size."""
    rows: list[tuple[str, ...]] = [("recipe", "GB", "seconds", "ns per parameter", "GiB at most", "allowed")]
    for one in scaled:
        rows.append(
            (
                one.recipe,
                f"{one.size / 1e9:.2f}",
                f"{one.seconds:.1f}",
                f"{one.seconds / one.parameters * 1e9:.1f}",
                f"{one.peak / 2**30:.2f}",
                f"{one.allowed / 2**30:.2f}",
            )
        )
    return rows


def main() -> int:
    """Exit code 0 if every goal is met and nothing failed, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compression", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="ROW", help=f"of: {' '.join(NAMES)}")
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    bench = Evaluation(arguments.quick)
    wanted = arguments.only or (QUICK if arguments.quick else NAMES)
    for row in ROWS:
        if row.name in wanted:
            try:
                bench.row(row)
            except OSError as error:
                bench.failures.append(f"{row.name}: {error}")
    if SCALE in wanted:
        bench.scale()
    report.table(report.goal_rows(bench.goals))
    for failure in bench.failures:
        print(f"failed: {failure}", file=sys.stderr)
    target = report.write("compression", bench.goals, details(bench))
    print(f"\nwritten to {target}; the models and the tools' words are in {report.FOLDER / 'compression'}")
    return 0 if not bench.failures and all(goal.met for goal in bench.goals) else 1


def details(bench: Evaluation) -> dict[str, Any]:
    """What stands in the JSON beside the goals."""
    return {
        "quick": bench.quick,
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "threads": 1,
        "peers": requirements(),
        "onnxruntime": version("onnxruntime"),
        "rows": {name: [asdict(one) for one in judged] for name, judged in bench.rows.items()},
        "scale": [asdict(one) for one in bench.scaled],
        "failures": bench.failures,
    }


if __name__ == "__main__":
    raise SystemExit(main())
