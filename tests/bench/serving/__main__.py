"""``make bench-serving``: the server beside the raw loop and beside its peers; one run, one table.

Every server has the same CPU, the load program another; all get the same model file. What is compared is measured by
turns, so that a machine that slows down slows down both, and the median of the rounds counts.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

from edgemodel_compressor.evaluate.latency import cpu_name
from tests.bench import report
from tests.bench.serving.batching import batching, splitting
from tests.bench.serving.footprint import footprint
from tests.bench.serving.latency import added_latency
from tests.bench.serving.overload import overload
from tests.bench.serving.processes import LOG, share_cpus
from tests.bench.serving.restart import rolling_restart
from tests.bench.serving.section import Section, Setting
from tests.bench.serving.throughput import against_peers, against_peers_over_grpc, against_the_limit
from tools.localcluster.system.progress import Progress

SECTIONS: dict[str, Callable[[Setting], Section]] = {
    "limit": against_the_limit,
    "rest": against_peers,
    "grpc": against_peers_over_grpc,
    "latency": added_latency,
    "overload": overload,
    "batching": batching,
    "splitting": splitting,
    "footprint": footprint,
    "restart": rolling_restart,
}


def main() -> int:
    """Exit code 0 if every goal is met and nothing failed, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="PART", help=f"of: {' '.join(SECTIONS)}")
    arguments = parser.parse_args()
    cpus = share_cpus()
    LOG.unlink(missing_ok=True)
    setting = Setting(cpus, 5.0, 3, 20_000)
    if arguments.quick:
        setting = Setting(cpus, 2.0, 1, 5_000)
    progress = Progress()
    sections: dict[str, Section] = {}
    failures: list[str] = []
    for name in arguments.only or SECTIONS:
        try:
            with progress.step(name):
                sections[name] = SECTIONS[name](setting)
        except (RuntimeError, OSError) as error:
            failures.append(f"{name}: {error}")
    goals = [goal for section in sections.values() for goal in section.goals]
    for section in sections.values():
        print(f"\n{section.title}")
        report.table(section.rows)
        for reason in section.skipped:
            print(f"  skipped: {reason}")
    print()
    report.table(report.goal_rows(goals))
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    target = report.write(
        "serving",
        goals,
        {
            "quick": arguments.quick,
            "cpu": cpu_name(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "onnxruntime": version("onnxruntime"),
            "sections": {
                name: {"title": section.title, "rows": section.rows, "details": section.details}
                for name, section in sections.items()
            },
            "skipped": [reason for section in sections.values() for reason in section.skipped],
            "failures": failures,
        },
    )
    print(f"\nwritten to {target}; the servers' words are in {LOG}")
    return 0 if not failures and all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    raise SystemExit(main())
