"""What the server adds to the model's own time, and its tail at half load."""

import asyncio
import statistics

from tests.bench.report import Goal
from tests.bench.serving import load, models
from tests.bench.serving.processes import edgemodel, paused, running
from tests.bench.serving.raw import raw_loop
from tests.bench.serving.requests import json_request
from tests.bench.serving.section import Section, Setting, duration

CLIENTS = 16


def added_latency(setting: Setting) -> Section:
    """The small model over REST: one client's median beside the raw loop's, and p99 at half of the capacity."""
    model = models.mlp()
    request = json_request(model)
    section = Section("Latency of the MLP over REST, JSON", [("", "p50", "p99")])
    added, medians, tails = [], [], []
    with running(edgemodel(model, setting.cpus.server)) as server:
        for _ in range(setting.rounds):
            with paused(server):
                raw = raw_loop(model, setting.cpus.server, setting.seconds / 2)
            alone = asyncio.run(load.closed_loop(server.port, request, 1, setting.seconds))
            medians.append(alone.latency(0.5))
            added.append(alone.latency(0.5) - raw.p50)
            capacity = asyncio.run(load.closed_loop(server.port, request, CLIENTS, setting.seconds)).rate
            half = asyncio.run(load.open_loop(lambda: [server.port], request, capacity / 2, setting.seconds))
            tails.append((half.latency(0.99), half.latency(0.5), capacity))
    tail, middle, capacity = sorted(tails)[len(tails) // 2]
    extra = statistics.median(added)
    section.rows += [
        ("session.run", duration(statistics.median(medians) - extra), ""),
        ("one client", duration(statistics.median(medians)), ""),
        (f"half load ({capacity / 2:.0f} requests/s)", duration(middle), duration(tail)),
    ]
    section.goals += [
        Goal("MLP over REST: p50 added to session.run, ms", round(1000 * extra, 3), 1),
        Goal("MLP over REST: p99 at half load, ms", round(1000 * tail, 3), 5),
    ]
    section.details = {"addedSeconds": added, "halfLoad": tails}
    return section
