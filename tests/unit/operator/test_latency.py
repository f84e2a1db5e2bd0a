"""Latency, scraped from pages that real servers write."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from edgemodel_contract.serving import METRICS_PATH, REQUEST_DURATION_BUCKETS, REQUEST_DURATION_METRIC
from edgemodel_operator.runtime.scraper import Latencies, Target, parse
from tests.unit.operator.builders import NOW

KEY = ("default", "digits")
INF = float("inf")


class Server:
    """The metrics of one inference server, under the client library that the real one uses."""

    def __init__(self) -> None:
        self.restart()
        self.broken = False

    def restart(self) -> None:
        self.registry = CollectorRegistry()
        self.duration = Histogram(
            REQUEST_DURATION_METRIC,
            "Duration of requests",
            ["endpoint", "code"],
            buckets=REQUEST_DURATION_BUCKETS,
            registry=self.registry,
        )

    def answer(self, seconds: float, times: int = 1, endpoint: str = "infer", code: str = "200") -> None:
        for _ in range(times):
            self.duration.labels(endpoint, code).observe(seconds)

    def page(self) -> str:
        return generate_latest(self.registry).decode()

    async def handle(self, _: web.Request) -> web.Response:
        return web.Response(status=500) if self.broken else web.Response(text=self.page())


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Site:
    """Two servers on two addresses of this machine, one port, as pods have it."""

    def __init__(self, port: int) -> None:
        self.servers = {"127.0.0.1": Server(), "127.0.0.2": Server()}
        self.clock = Clock()
        self.targets = [
            Target(KEY, "site-a", "pod-1", "127.0.0.1", 95),
            Target(KEY, "site-a", "pod-2", "127.0.0.2", 95),
        ]
        self.latencies = Latencies(lambda: self.targets, window_seconds=30, now=self.clock, port=port)

    async def scrape(self, after: float = 5) -> None:
        self.clock.wait(after)
        await self.latencies.scrape()

    def seconds(self, site: str = "site-a") -> float | None:
        return self.latencies.of(KEY)[site].seconds

    def rate(self, site: str = "site-a") -> float:
        return self.latencies.of(KEY)[site].requests_per_second


@asynccontextmanager
async def listening(servers: dict[str, Server], port: int) -> AsyncIterator[None]:
    runners = []
    for address, server in servers.items():
        application = web.Application()
        application.router.add_get(METRICS_PATH, server.handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    port = free_port()
    built = Site(port)
    async with listening(built.servers, port):
        yield built
        await built.latencies.close()


def test_a_page_is_summed_over_its_labels() -> None:
    server = Server()
    server.answer(0.004, times=3)
    server.answer(0.004, endpoint="predict", code="400")
    buckets = parse(server.page())
    assert buckets is not None
    assert buckets[0.003] == 0
    assert buckets[0.005] == 4
    assert buckets[INF] == 4


def test_a_server_that_was_not_called_yet_has_a_page_without_buckets() -> None:
    assert parse(Server().page()) == {}


@pytest.mark.parametrize(
    "page", [f'{REQUEST_DURATION_METRIC}_bucket{{le="x"}} 1', f"{REQUEST_DURATION_METRIC}_bucket{{"]
)
def test_what_is_no_page_is_none(page: str) -> None:
    assert parse(page) is None


async def test_one_reading_says_nothing_yet(site: Site) -> None:
    site.servers["127.0.0.1"].answer(0.004, times=1000)
    await site.scrape()
    assert site.latencies.of(KEY) == {}


async def test_the_percentile_and_the_rate_are_those_between_two_readings_over_all_pods(site: Site) -> None:
    site.servers["127.0.0.1"].answer(9.0, times=1000)
    await site.scrape()
    site.servers["127.0.0.1"].answer(0.004, times=60)
    site.servers["127.0.0.2"].answer(0.04, times=40)
    assert await site.latencies.scrape() == set(), "no time has passed"
    await site.scrape()
    seconds = site.seconds()
    assert seconds is not None
    assert 0.03 < seconds <= 0.05
    assert site.rate() == pytest.approx(20)
    assert site.latencies.of(KEY)["site-a"].at == site.clock.now


async def test_the_percentile_that_is_asked_for(site: Site) -> None:
    site.targets = [Target(KEY, "site-a", "pod-1", "127.0.0.1", 50)]
    await site.scrape()
    site.servers["127.0.0.1"].answer(0.004, times=60)
    site.servers["127.0.0.1"].answer(0.04, times=40)
    await site.scrape()
    seconds = site.seconds()
    assert seconds is not None
    assert 0.003 < seconds <= 0.005


async def test_without_requests_there_is_a_rate_of_zero_and_no_percentile(site: Site) -> None:
    await site.scrape()
    await site.scrape()
    assert (site.seconds(), site.rate()) == (None, 0.0)


async def test_what_is_older_than_the_window_no_longer_counts(site: Site) -> None:
    await site.scrape()
    site.servers["127.0.0.1"].answer(5.0, times=100)
    await site.scrape()
    assert site.seconds() is not None
    for _ in range(7):
        await site.scrape()
    assert site.seconds() is None


async def test_sites_are_kept_apart(site: Site) -> None:
    site.targets[1] = Target(KEY, "site-b", "pod-2", "127.0.0.2", 95)
    await site.scrape()
    site.servers["127.0.0.1"].answer(0.001, times=10)
    site.servers["127.0.0.2"].answer(1.0, times=10)
    await site.scrape()
    assert (site.seconds("site-a") or 0) <= 0.001 < (site.seconds("site-b") or 0)


async def test_a_server_that_started_anew_counts_from_there(site: Site) -> None:
    site.targets = site.targets[:1]
    server = site.servers["127.0.0.1"]
    server.answer(5.0, times=100)
    await site.scrape()
    server.restart()
    server.answer(0.004, times=10)
    await site.scrape()
    server.answer(0.004, times=10)
    await site.scrape()
    assert site.rate() == pytest.approx(2)
    assert (site.seconds() or 0) <= 0.005


async def test_a_server_that_started_anew_and_is_idle_does_not_spoil_the_figures(site: Site) -> None:
    site.targets = site.targets[:1]
    server = site.servers["127.0.0.1"]
    server.answer(5.0, times=100)
    await site.scrape()
    server.restart()
    await site.scrape()
    server.answer(0.004, times=10)
    await site.scrape()
    assert site.rate() == pytest.approx(2)


async def test_a_server_that_does_not_answer_leaves_the_others_alone(site: Site) -> None:
    site.targets.append(Target(KEY, "site-a", "pod-3", "127.0.0.3", 95))
    await site.scrape()
    site.servers["127.0.0.1"].answer(0.004, times=10)
    site.servers["127.0.0.2"].broken = True
    await site.scrape()
    assert site.rate() == pytest.approx(2)


async def test_figures_of_a_silent_site_stay_and_show_their_age(site: Site) -> None:
    await site.scrape()
    site.servers["127.0.0.1"].answer(0.004, times=10)
    await site.scrape()
    measured = site.latencies.of(KEY)
    for server in site.servers.values():
        server.broken = True
    site.clock.wait(60)
    assert await site.latencies.scrape() == set()
    assert site.latencies.of(KEY) == measured


async def test_a_model_that_is_gone_is_forgotten(site: Site) -> None:
    await site.scrape()
    await site.scrape()
    site.targets = []
    await site.scrape()
    assert site.latencies.of(KEY) == {}


def test_a_page_that_is_not_the_servers_is_not_taken_for_silence() -> None:
    """Scaling to the minimum because something else answered on the port would be a guess."""
    assert parse("<html>a captive portal</html>") is None


async def test_a_page_of_many_segments_is_read_to_its_end(site: Site) -> None:
    site.targets = site.targets[:1]
    server = site.servers["127.0.0.1"]
    # Registered before the histogram, and larger than what one read of a socket gives.
    server.registry = CollectorRegistry()
    other = Counter("aaa", "First on the page", ["padding"], registry=server.registry)
    for place in range(400):
        other.labels(f"{place:0500}").inc()
    server.duration = Histogram(
        REQUEST_DURATION_METRIC,
        "Duration of requests",
        ["endpoint", "code"],
        buckets=REQUEST_DURATION_BUCKETS,
        registry=server.registry,
    )
    assert 200_000 < len(server.page()) < 1 << 20
    server.answer(0.004)
    await site.scrape()
    server.answer(0.004, times=10)
    await site.scrape()
    assert site.rate() == pytest.approx(2)
