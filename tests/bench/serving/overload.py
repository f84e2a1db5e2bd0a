"""Twice as many requests as the server can answer, and what comes after."""

import asyncio
from dataclasses import dataclass

from tests.bench.report import Goal
from tests.bench.serving import load, models
from tests.bench.serving.load import quantile
from tests.bench.serving.processes import Server, edgemodel, running
from tests.bench.serving.requests import binary_request
from tests.bench.serving.section import Section, Setting, duration

DEADLINE = 0.5
CLIENTS = 8
REFUSALS = (429, 503)
CALM = 2.0
"""After an overload the server has recovered when answers take no longer than so many times the p99 before it,"""
STRAY = 0.01
"""but for this share of them, as before."""


@dataclass(frozen=True)
class Phases:
    """Requests per second in closed loop, and the answers before, during and after the overload."""

    capacity: float
    before: load.Result
    during: load.Result
    after: load.Result


def overload(setting: Setting) -> Section:
    """INT8 ResNet-18 with binary tensors, every request with a deadline."""
    model = models.resnet()
    request = binary_request(model, headers={"x-request-timeout": str(DEADLINE)})
    with running(edgemodel(model, setting.cpus.server)) as server:
        phases = asyncio.run(_measure(server, request, setting.seconds))
    during = phases.during
    if 200 not in during.statuses() or 200 not in phases.before.statuses():
        raise RuntimeError(f"no request was answered: {phases.before.statuses()}, then {during.statuses()}")
    good = sum(answer.status == 200 and answer.seconds <= DEADLINE for answer in during.answers) / during.seconds
    refused = [answer for answer in during.answers if answer.status in REFUSALS]
    other = len(during.answers) - len(refused) - during.statuses().get(200, 0) + during.unanswered
    late = sorted(during.late)
    section = Section(
        f"Overload: ResNet-18 at twice its capacity, deadline {DEADLINE * 1000:.0f} ms",
        [
            ("", "requests/s", "p50", "p99", "answers"),
            ("capacity", f"{phases.capacity:.1f}", "", "", ""),
            *(
                (
                    name,
                    f"{result.rate:.1f}",
                    duration(result.latency(0.5)),
                    duration(result.latency(0.99)),
                    _counted(result),
                )
                for name, result in (
                    ("half load before", phases.before),
                    ("overload, accepted", during),
                    ("half load after", phases.after),
                )
            ),
            (
                "overload, refused",
                f"{len(refused) / during.seconds:.1f}",
                duration(during.latency(0.5, *REFUSALS)),
                duration(during.latency(0.99, *REFUSALS)),
                "",
            ),
            ("load program late", "", *(duration(quantile(late, share)) for share in (0.5, 0.99)), ""),
        ],
    )
    section.goals += [
        Goal("overload: goodput as a share of capacity", round(good / phases.capacity, 3), 0.9, at_least=True),
        Goal("overload: answers that are neither 200, 429 nor 503", other, 0),
        Goal("overload: p99 of the accepted, ms", round(1000 * during.latency(0.99), 1), 1000 * DEADLINE),
        Goal("overload: seconds to recover", round(recovery(phases), 2), 2),
    ]
    section.details = {"statuses": during.statuses(), "loadBusy": during.busy}
    if refused:
        slowest = max(answer.seconds for answer in refused)
        section.goals.append(
            Goal("overload: p99 of refusals, ms", round(1000 * during.latency(0.99, *REFUSALS), 2), 10)
        )
        section.details["slowestRefusalSeconds"] = slowest
    else:
        section.skipped.append("refusals: there was none, so the load was below the capacity")
    return section


async def _measure(server: Server, request: bytes, seconds: float) -> Phases:
    ports = lambda: [server.port]  # noqa: E731
    capacity = (await load.closed_loop(server.port, request, CLIENTS, seconds)).rate
    before = await load.open_loop(ports, request, capacity / 2, seconds, seed=1)
    during = await load.open_loop(ports, request, 2 * capacity, 2 * seconds, seed=2)
    after = await load.open_loop(ports, request, capacity / 2, seconds, seed=3)
    return Phases(capacity, before, during, after)


def recovery(phases: Phases) -> float:
    """Seconds from the end of the overload until answers are good, and as fast as they were before."""
    limit = CALM * phases.before.latency(0.99)
    answers = phases.after.answers
    late = sorted(answer.due + answer.seconds for answer in answers if answer.status != 200 or answer.seconds > limit)
    strays = int(STRAY * len(answers))
    return late[-1 - strays] if len(late) > strays else 0.0


def _counted(result: load.Result) -> str:
    return " ".join(f"{count}×{status}" for status, count in sorted(result.statuses().items()))
