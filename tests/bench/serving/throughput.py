"""Requests per second: beside the raw loop, and beside the peers."""

import asyncio
import statistics
from collections.abc import Callable
from functools import partial

from tests.bench.report import Goal
from tests.bench.serving import grpc_load, load, models
from tests.bench.serving.models import BenchModel
from tests.bench.serving.peers import PEERS, NotInstalledError
from tests.bench.serving.processes import LOG, Server, edgemodel, paused, running
from tests.bench.serving.raw import raw_loop
from tests.bench.serving.requests import binary_request, grpc_message, json_request
from tests.bench.serving.section import Section, Setting, duration
from tests.bench.usage import tree_cpu_seconds

CLIENTS = 16
RESNET_CLIENTS = 4
REST_GOAL = 2.0
"""Times the best peer: our own HTTP/1.1 layer is there for this."""
GRPC_GOAL = 1.5
"""Times the best peer, which has grpcio below it as we do."""


def against_the_limit(setting: Setting) -> Section:
    """INT8 ResNet-18, binary tensors, by turns with the raw loop on the same CPU."""
    heading = ("", "requests/s", "of the raw loop", "CPU time/request")
    section = Section("INT8 ResNet-18 at 224×224, binary tensors", [heading])
    model = models.resnet()
    request = binary_request(model)
    raw, ours, used = [], [], []
    with running(edgemodel(model, setting.cpus.server)) as server:
        for _ in range(setting.rounds):
            with paused(server):
                raw.append(raw_loop(model, setting.cpus.server, setting.seconds))
            result, cpu = _load(
                server, lambda: asyncio.run(load.closed_loop(server.port, request, RESNET_CLIENTS, setting.seconds))
            )
            ours.append(result.rate)
            used.append(cpu)
    share = statistics.median(mine / limit.rate for mine, limit in zip(ours, raw, strict=True))
    limit_cpu, our_cpu = statistics.median(limit.cpu for limit in raw), statistics.median(used)
    section.rows += [
        ("session.run in a loop", f"{statistics.median(limit.rate for limit in raw):.1f}", "1", duration(limit_cpu)),
        ("edgemodel", f"{statistics.median(ours):.1f}", f"{share:.3f}", duration(our_cpu)),
    ]
    name = "ResNet-18 INT8, binary: share of the raw loop's throughput"
    section.goals.append(Goal(name, round(share, 3), 0.92, at_least=True))
    section.details = {
        "raw": [limit.rate for limit in raw],
        "edgemodel": ours,
        # What other programs on the same CPU take away is not in these: the share to look at on a busy machine.
        "cpuSecondsPerRequest": {"raw": limit_cpu, "edgemodel": our_cpu},
    }
    return section


def against_peers(setting: Setting) -> Section:
    """The small model over REST, JSON: each peer by turns with ours."""
    model = models.mlp()
    request = json_request(model)
    section = _compare(
        "MLP with 64 inputs over REST, JSON",
        setting,
        model,
        lambda server: _rest(server, request, setting)(),
        grpc=False,
    )
    with running(edgemodel(model, setting.cpus.server)) as server:
        binary, cpu = _load(server, _rest(server, binary_request(model), setting))
    section.rows.append(("edgemodel, binary tensors", f"{binary.rate:.0f}", "", duration(cpu), f"{binary.busy:.2f}"))
    return section


def against_peers_over_grpc(setting: Setting) -> Section:
    """The small model over gRPC, raw contents."""
    model = models.mlp()
    message = grpc_message(model.name, model.input_name, model.sample)
    return _compare(
        "MLP with 64 inputs over gRPC, raw contents",
        setting,
        model,
        lambda server: asyncio.run(
            load.closed_loop(server.grpc_port, message, CLIENTS, setting.seconds, connect=grpc_load.connect)
        ),
        grpc=True,
    )


def _compare(
    title: str, setting: Setting, model: BenchModel, measure: Callable[[Server], load.Result], *, grpc: bool
) -> Section:
    section = Section(title, [("", "requests/s", "edgemodel beside it", "CPU time/request", "load program busy")])
    ratios: dict[str, float] = {}
    beside: list[float] = []

    def add(name: str, rates: list[float], ratio: str, cpu: float, busy: float) -> None:
        section.rows.append((name, f"{statistics.median(rates):.0f}", ratio, duration(cpu), f"{busy:.2f}"))

    with running(edgemodel(model, setting.cpus.server)) as ours:
        for peer in PEERS:
            if grpc and not peer.grpc:
                continue
            try:
                version = peer.install()
            except NotInstalledError as error:
                section.skipped.append(f"{peer.name}: cannot be installed here: {error}")
                continue
            theirs, mine = [], []
            with running(peer.start(model, setting.cpus.server), peer.ready) as server:
                ask = _rest(server, peer.request(model), setting) if not grpc else partial(measure, server)
                for _ in range(setting.rounds):
                    with paused(ours):
                        result, cpu = _load(server, ask)
                    theirs.append(result.rate)
                    with paused(server):
                        mine.append(_load(ours, partial(measure, ours))[0].rate)
            ratios[peer.name] = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            beside += mine
            add(f"{peer.name} {version}", theirs, f"{ratios[peer.name]:.2f}×", cpu, result.busy)
        result, cpu = _load(ours, partial(measure, ours))
    add("edgemodel", [*beside, result.rate], "", cpu, result.busy)
    if ratios:
        best = min(ratios, key=lambda name: ratios[name])
        name = f"MLP over {'gRPC' if grpc else 'REST'}: times the best peer's ({best}) requests/s"
        section.goals.append(Goal(name, round(ratios[best], 2), GRPC_GOAL if grpc else REST_GOAL, at_least=True))
    section.details = {"ratios": ratios, "edgemodel": beside}
    return section


def _rest(server: Server, request: bytes, setting: Setting) -> Callable[[], load.Result]:
    return lambda: asyncio.run(load.closed_loop(server.port, request, CLIENTS, setting.seconds))


def _load(server: Server, ask: Callable[[], load.Result]) -> tuple[load.Result, float]:
    """What ``ask`` finds, and the CPU seconds that ``server`` took for each answer.

    Raises:
        RuntimeError: it answered errors, or nothing: that is no throughput.
    """
    before = tree_cpu_seconds(server.pid)
    result = ask()
    used = tree_cpu_seconds(server.pid) - before
    if set(result.statuses()) != {200} or result.unanswered:
        raise RuntimeError(
            f"{server.program} answered {result.statuses()} of {result.total} in all, "
            f"{result.unanswered} clients waited in vain; see {LOG}"
        )
    return result, used / result.total
