"""``make bench-control-plane``: how the operator does with 1,000 EdgeModels on two sites each.

A real API server and etcd, the operator as a process under its own ServiceAccount with its default settings; what runs
between its writes (Job and Deployment controllers, kubelets, compression) is played by a simulator in this process, and
every process' share of the machine is shown, so that one sees who is waited for.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.api.client import Api
from tests.api.operator_process import OperatorProcess
from tests.api.world import EDGE_LABEL, ZONE_LABEL, make_node
from tests.bench import report
from tests.bench.report import Goal
from tests.bench.simulator import NAMESPACE, Simulator
from tests.bench.usage import Stopwatch, Usage, memory_mib
from tools.localcluster.native.control_plane import ControlPlane
from tools.localcluster.system.progress import Progress

BASE = Path(__file__).parents[2] / "manifests" / "base"
SITES = ("site-a", "site-b")
CHANGES = 50
CHANGE_EVERY_SECONDS = 0.2
QUIET_SECONDS = 30.0
DEADLINE_SECONDS = 900.0


def main() -> int:
    """Exit code 0 if every goal is met, 1 if one is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.control_plane", description=__doc__)
    parser.add_argument("--models", type=int, default=1000, help="EdgeModels (default: 1000)")
    models: int = parser.parse_args().models
    with tempfile.TemporaryDirectory(prefix="edgemodel-bench-") as folder, ControlPlane(Path(folder)) as plane:
        operator = _install(plane)
        try:
            goals = asyncio.run(_measure(plane, operator, models))
        except BaseException:
            print(operator.log_tail(), file=sys.stderr)
            raise
        finally:
            operator.kill()
    return 0 if all(goal.met for goal in goals) else 1


def _install(plane: ControlPlane) -> OperatorProcess:
    """The operator's installation, the nodes and the namespace; from here on no controller runs but the operator."""
    plane.kubectl.apply("-k", BASE)
    plane.kubectl("wait", "--for=condition=Established", "crd/edgemodels.edge5g.io", "--timeout=30s")
    api = Api(plane)
    for site in SITES:
        make_node(api, f"{site}-1", {EDGE_LABEL: "", ZONE_LABEL: site})
    make_node(api, "core", {})
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    deadline = time.monotonic() + 30
    while plane.kubectl("get", "serviceaccount/default", "-n", NAMESPACE, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"namespace {NAMESPACE} got no ServiceAccount in 30 s")
    api.close()
    kubeconfig = plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator")
    plane.controller_manager.stop()
    return OperatorProcess(kubeconfig, plane.folder / "operator.log")


async def _measure(plane: ControlPlane, operator: OperatorProcess, models: int) -> list[Goal]:
    progress = Progress()
    names = [f"model-{number:04}" for number in range(models)]
    await asyncio.to_thread(operator.start)
    pids = {"operator": operator.pid, "simulator": os.getpid()}
    for daemon in (plane.apiserver, plane.etcd):
        assert daemon.identity is not None
        pids[daemon.name] = daemon.identity.pid
    async with Simulator(plane) as simulator:
        with progress.step(f"{models} EdgeModels × {len(SITES)} sites from creation to Ready"):
            watch = Stopwatch(pids)
            await asyncio.gather(*(simulator.create_model(name) for name in names))
            created = watch.read().seconds
            await _until(simulator, lambda: len(simulator.ready) == models, "all EdgeModels to be Ready")
            rollout = watch.read()
        with progress.step(f"{CHANGES} changes of a spec"):
            await _settle(operator)
            watch = Stopwatch(pids)
            delays = await _change(simulator, names)
            changing = watch.read()
        with progress.step(f"{QUIET_SECONDS:.0f} s in which nothing changes"):
            await _until(simulator, lambda: len(simulator.ready) == models, "all EdgeModels to be Ready again")
            await _settle(operator)
            watch, before = Stopwatch(pids), await asyncio.to_thread(operator.writes)
            await asyncio.sleep(QUIET_SECONDS)
            idle_writes = await asyncio.to_thread(operator.writes) - before
            quiet = watch.read()
        steady, peak = memory_mib(operator.pid)
        calls = await asyncio.to_thread(operator.samples, "edgemodel_operator_api_requests_total")
        with progress.step("a restart of the operator"):
            operator.kill()
            await asyncio.to_thread(operator.start)
            await _settle(operator)
            restart_writes = await asyncio.to_thread(operator.writes)
    size = f"{models:,} EdgeModels × {len(SITES)} sites"
    goals = [
        Goal(f"{size}: creation to Ready, s", round(rollout.seconds, 2), 60),
        Goal("spec change to Deployment change, p95, s", round(_p95(delays), 4), 1),
        Goal("operator's resident memory, peak, MiB", round(peak, 1), 200),
        Goal(f"API writes in {QUIET_SECONDS:.0f} s without change", idle_writes, 0),
        Goal("API writes of a restarted operator", restart_writes, 0),
    ]
    phases = {"rollout": rollout, "changes": changing, "quiet": quiet}
    _show(goals, phases, models, created, delays, steady, calls)
    target = report.write(
        "control-plane",
        goals,
        {
            "models": models,
            "sites": len(SITES),
            "cores": os.cpu_count(),
            "kubernetes": f"1.{plane.assets.minor}",
            "createdSeconds": created,
            "changeSeconds": {"p50": statistics.median(delays), "p95": _p95(delays), "max": max(delays)},
            "memoryMib": {"steady": steady, "peak": peak},
            "apiRequests": calls,
            "phases": {name: asdict(usage) for name, usage in phases.items()},
        },
    )
    print(f"\nwritten to {target}")
    return goals


async def _until(simulator: Simulator, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if simulator.failure is not None:
            raise simulator.failure
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {DEADLINE_SECONDS:.0f} s for {what}; {len(simulator.ready)} are Ready")
        await asyncio.sleep(0.02)


async def _settle(operator: OperatorProcess) -> None:
    """Wait until the operator's queue is empty and it writes nothing."""
    await asyncio.to_thread(operator.settle)


async def _change(simulator: Simulator, names: list[str]) -> list[float]:
    """Change specs here and there; answers the seconds from each request to the change of the first Deployment."""
    delays = []
    for number in range(CHANGES):
        name, value = names[number * len(names) // CHANGES], f"change-{number}"
        started = time.monotonic()
        await simulator.change_model(name, value)
        await _until(simulator, lambda key=(name, value): key in simulator.seen, f"{name} to change")  # type: ignore[misc]
        delays.append(simulator.seen[name, value] - started)
        await asyncio.sleep(max(0.0, started + CHANGE_EVERY_SECONDS - time.monotonic()))
    return delays


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _show(
    goals: list[Goal],
    phases: dict[str, Usage],
    models: int,
    created: float,
    delays: list[float],
    steady: float,
    calls: dict[str, float],
) -> None:
    print()
    report.table(report.goal_rows(goals))
    print("\nCores kept busy, by process")
    names = list(next(iter(phases.values())).cpu)
    rows = [("phase", "seconds", *names)]
    for phase, usage in phases.items():
        shares = usage.shares()
        rows.append((phase, f"{usage.seconds:.1f}", *(f"{shares[name]:.2f}" for name in names)))
    report.table(rows)
    rollout = phases["rollout"].cpu
    print("\nMilliseconds of CPU for one EdgeModel to become Ready: what remains the same on a machine that others use")
    report.table(
        [(*names, "all"), tuple(f"{1000 * used / models:.1f}" for used in (*rollout.values(), sum(rollout.values())))]
    )
    print(f"\nAll created after {created:.1f} s. Memory steady at {steady:.0f} MiB.")
    print(f"Changes: p50 {statistics.median(delays) * 1000:.0f} ms, max {max(delays) * 1000:.0f} ms.")
    requests = ", ".join(f"{labels} {count:.0f}" for labels, count in sorted(calls.items()))
    print(f"The operator's requests: {requests}")


if __name__ == "__main__":
    raise SystemExit(main())
