"""Many clients, one row each: computed together. One client, many rows: computed apart."""

import asyncio
import statistics
from contextlib import ExitStack

from tests.bench.report import Goal
from tests.bench.serving import load, models
from tests.bench.serving.processes import edgemodel, paused, running
from tests.bench.serving.requests import binary_request
from tests.bench.serving.section import Section, Setting, duration

CLIENTS = 32
ROWS = 32
PEER = "127.0.0.2"
"""Address of the other replica of a site: it listens on the same port."""


def batching(setting: Setting) -> Section:
    """A model whose weights are read from memory for every row: with batching and without, by turns."""
    model = models.wide()
    request = binary_request(model)
    gains, losses, rates, medians = [], [], [], []
    with (
        running(edgemodel(model, setting.cpus.server)) as batched,
        running(edgemodel(model, setting.cpus.server, EDGEMODEL_MAX_BATCH_SIZE="1")) as single,
    ):
        for _ in range(setting.rounds):
            many, one = [], []
            for server, other in ((single, batched), (batched, single)):
                with paused(other):
                    many.append(asyncio.run(load.closed_loop(server.port, request, CLIENTS, setting.seconds)).rate)
                    one.append(asyncio.run(load.closed_loop(server.port, request, 1, setting.seconds)).latency(0.5))
            rates.append(many)
            medians.append(one)
            gains.append(many[1] / many[0])
            losses.append(one[1] / one[0])
    gain, loss = statistics.median(gains), statistics.median(losses)
    section = Section(
        f"Batching: {' → '.join(map(str, (1024, 2048, 2048, 64)))} in 32 bits",
        [("", f"requests/s, {CLIENTS} clients", "p50, one client")],
    )
    for index, name in enumerate(("without", "with")):
        rate = statistics.median(pair[index] for pair in rates)
        section.rows.append((name, f"{rate:.0f}", duration(statistics.median(pair[index] for pair in medians))))
    section.goals += [
        Goal(f"batching: times the throughput at {CLIENTS} clients", round(gain, 2), 2.5, at_least=True),
        Goal("batching: times the p50 of one client", round(loss, 3), 1.05),
    ]
    section.details = {"gains": gains, "losses": losses}
    return section


def splitting(setting: Setting) -> Section:
    """A batch of images on one worker, on as many as there are CPUs in one server, and on as many replicas of a site
    with a CPU each: T_parallel against T_serial / P."""
    model = models.resnet()
    request = binary_request(model, rows=ROWS)
    cpus = (*setting.cpus.server, setting.cpus.load)
    times: dict[str, list[float]] = {"alone": [], "pod": [], "site": []}
    with (
        running(edgemodel(model, setting.cpus.server)) as one,
        running(edgemodel(model, cpus)) as pod,
        running(edgemodel(model, setting.cpus.server, EDGEMODEL_PEERS=PEER)) as front,
        running(edgemodel(model, (setting.cpus.load,), PEER, front.port)) as peer,
    ):
        groups = {"alone": (one,), "pod": (pod,), "site": (front, peer)}
        for _ in range(setting.rounds):
            for name, servers in groups.items():
                with ExitStack() as others:
                    for server in {one, pod, front, peer}.difference(servers):
                        others.enter_context(paused(server))
                    result = asyncio.run(load.closed_loop(servers[0].port, request, 1, setting.seconds * 2))
                times[name].append(result.latency(0.5))
        shared = front.metric('edgemodel_parts_total{place="peer",result="ok"}')
    if not shared:
        raise RuntimeError("the other replica of the site computed nothing")
    serial, parallel, site = (statistics.median(times[name]) for name in ("alone", "pod", "site"))
    ideal = serial / len(cpus)
    section = Section(f"Splitting: {ROWS} images in one request, P = {len(cpus)}", [("", "p50", "of T_serial / P")])
    section.rows += [
        ("T_serial", duration(serial), ""),
        ("T_serial / P", duration(ideal), "1"),
        ("T_parallel, P workers of a pod", duration(parallel), f"{parallel / ideal:.2f}"),
        ("T_parallel, P replicas of a site", duration(site), f"{site / ideal:.2f}"),
    ]
    section.details = {
        "serialSeconds": serial,
        "parallelSeconds": parallel,
        "siteSeconds": site,
        "parts": len(cpus),
        "partsOfPeer": shared,
    }
    return section
