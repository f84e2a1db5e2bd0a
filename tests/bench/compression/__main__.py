"""``make bench-compression``: Auto beside what else compresses models; one run, a table per row.

Every tool gets the same model and the same samples, on the same machine, and one thread is what its model is judged
with. Accuracy is measured here, on samples that no tool has seen; latencies are measured by turns. Each row is run with
several seeds, and goals are about the means.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from edgemodel_compressor.evaluate.latency import cpu_name
from tests.bench import report
from tests.bench.compression import strangers
from tests.bench.compression.data import SEEDS
from tests.bench.compression.judging import judge
from tests.bench.compression.models import ROWS, Prepared, Row, prepare
from tests.bench.compression.ours import compress
from tests.bench.compression.peers import PEERS, install, requirements
from tests.bench.compression.processes import ENVIRONMENT, ToolError
from tests.bench.compression.scale import SIZES, Scaled, measure, scale_goals
from tests.bench.compression.verdict import TARGETS, Judged, averaged, of, points_lost, row_goals
from tests.bench.report import Goal
from tests.corpus.packages import PackageError
from tools.localcluster.system.progress import Progress, clock

ORIGINAL, OURS = "fp32", "edgemodel"
SCALE = "scale"
TWICE = "encoder"
"""The row on which Auto runs a second time: the same model must come out."""
QUICK = (TWICE, SCALE)
NAMES = (*(row.name for row in ROWS), *strangers.ROWS, SCALE)


class Evaluation:
    """What has come of the run so far."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.progress = Progress()
        self.goals: list[Goal] = []
        self.failures: list[str] = []
        self.rows: dict[str, list[list[Judged]]] = {}
        """By row, for each seed."""
        self.scaled: list[Scaled] = []
        self._python: Path | None = None

    def python(self) -> Path:
        """The peers' interpreter."""
        if self._python is None:
            with self.progress.step("the peers' virtual environment"):
                self._python = install()
        return self._python

    def row(self, row: Row, seeds: Sequence[int]) -> None:
        """With each seed train, let every tool compress, and judge; then print the tables."""
        for seed in seeds:
            self.rows.setdefault(row.name, []).append(self._trained(row, seed, first=seed == seeds[0]))
        self._conclude(row.name, row.title, row.perplexity)

    def stranger(self, name: str, seeds: Sequence[int]) -> None:
        """The same of a model of the corpus, with samples made by each seed."""
        self.python()
        for seed in seeds:
            with self.progress.step(f"{name}, seed {seed}"):
                judged, failures = strangers.measured(name, seed, ORIGINAL, OURS)
            self.rows.setdefault(name, []).append(judged)
            self.failures += failures
        self._conclude(name, f"{name}, of the corpus", perplexity=False)

    def _conclude(self, name: str, title: str, perplexity: bool) -> None:
        means = averaged(self.rows[name])
        by_tool = {one.tool: one for one in means}
        if OURS in by_tool:
            peers = [one for one in means if one.tool not in (ORIGINAL, OURS)]
            self.goals += row_goals(name, by_tool[ORIGINAL], by_tool[OURS], peers)
        print(f"\n{title}, {len(self.rows[name])} seed(s)")
        report.table(row_table(perplexity, self.rows[name]))
        print(flush=True)

    def _trained(self, row: Row, seed: int, *, first: bool) -> list[Judged]:
        with self.progress.step(f"{row.name}, seed {seed}: model"):
            prepared = prepare(row, seed)
        folder = report.FOLDER / "compression" / f"{row.name}-{seed}"
        models, walls = {ORIGINAL: prepared.model}, {}
        try:
            options = limits(row.name)
            with self.progress.step(f"{row.name}: {OURS}"):
                ours = compress(prepared.model, prepared.dataset, folder / OURS, *options)
            models[OURS], walls[OURS] = ours.model, ours.run.seconds
            if row.name == TWICE and first:
                with self.progress.step(f"{row.name}: {OURS}, once more"):
                    again = compress(prepared.model, prepared.dataset, folder / f"{OURS}-again", *options)
                self.goals.append(Goal("digests of two runs on the same input", len({ours.digest, again.digest}), 1))
        except ToolError as error:
            self.failures.append(f"{row.name}: {OURS}: {error}")
        self._peers(prepared, folder, models, walls)
        with self.progress.step(f"{row.name}: judging"):
            return judge(models, walls, row.data(seed).test, 5 if self.quick else 30)

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
    """Auto is told what the row asks for of accuracy; where that is nothing, Auto's own limit holds."""
    target = TARGETS.get(row)
    return ("--max-accuracy-drop", f"{target.lost}%") if target else ()


def row_table(perplexity: bool, seeds: Sequence[Sequence[Judged]]) -> list[tuple[str, ...]]:
    """A line per tool: means over the seeds, and by how much a seed is off (standard deviation); ratios are to FP32."""
    measured = "perplexity" if perplexity else "accuracy"
    rows: list[tuple[str, ...]] = [("tool", "MB", "smaller", "ms p50", "faster", measured, "lost", "took")]
    for mean in averaged(seeds):
        pairs = list(zip(of(seeds, ORIGINAL), of(seeds, mean.tool), strict=True))
        if perplexity:
            lost = [100 * (before.quality / after.quality - 1) for before, after in pairs]
        else:
            lost = [points_lost(before, after) for before, after in pairs]
        rows.append(
            (
                mean.tool,
                f"{mean.size / 1e6:.2f}",
                _spread([before.size / after.size for before, after in pairs], "×"),
                f"{mean.seconds * 1000:.2f}",
                _spread([before.seconds / after.seconds for before, after in pairs], "×"),
                f"{1 / mean.quality:.3f}" if perplexity else f"{mean.quality:.1%}",
                _spread(lost, "%" if perplexity else ""),
                clock(mean.wall) if mean.wall else "–",
            )
        )
    return rows


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{fmean(values):.2f}{unit}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


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
    parser.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1), help="how many")
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    bench = Evaluation(arguments.quick)
    wanted = arguments.only or (QUICK if arguments.quick else NAMES)
    seeds = SEEDS[: 1 if arguments.quick else arguments.seeds]
    for row in ROWS:
        if row.name in wanted:
            try:
                bench.row(row, seeds)
            except OSError as error:
                bench.failures.append(f"{row.name}: {error}")
    for name in strangers.ROWS:
        if name in wanted:
            try:
                bench.stranger(name, seeds)
            except (OSError, PackageError) as error:
                bench.failures.append(f"{name}: {error}")
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
        "rows": {name: [[asdict(one) for one in judged] for judged in seeds] for name, seeds in bench.rows.items()},
        "scale": [asdict(one) for one in bench.scaled],
        "failures": bench.failures,
    }


if __name__ == "__main__":
    raise SystemExit(main())
