"""A server that may open no more files: who is connected is served, and it recovers."""

import pytest

from tests.abuse.conftest import Special
from tests.abuse.crowd import crowd
from tests.abuse.frames import PREFACE, Http2, settings
from tests.abuse.wire import Wire, get, infer
from tests.unit.server.builders import mlp

DESCRIPTORS = 160
LOG_LINES = 200
"""An attack that fills the log fills a node's disk."""


@pytest.mark.parametrize("port", ["REST", "gRPC"])
def test_a_port_is_filled_with_connections(special: Special, port: str, long: bool) -> None:
    with special(mlp(), "small", descriptors=DESCRIPTORS) as watch:
        attacked = watch.target.port if port == "REST" else watch.target.grpc_port
        content = get("/v2/health/live") if port == "REST" else PREFACE + settings()
        for _ in range(3 if long else 1):
            with watch.attack(), crowd(attacked) as many:
                many.join(3 * DESCRIPTORS, content)
                many.read(10 if long else 2)
                assert len(watch.target.log.read_bytes().splitlines()) < LOG_LINES
        assert watch.target.settles(lambda: watch.target.descriptors() < DESCRIPTORS)
        for _ in range(20):
            with Wire(watch.target.port) as wire:
                wire.send(infer("after"))
                assert wire.answer().id == "after"
            with Http2(watch.target.grpc_port) as client:
                client.send(client.call(1))
                assert client.outcome(1) == "answered 0"


def test_the_admin_port_is_filled_with_connections(special: Special) -> None:
    # Whoever reaches it may make the probes fail, but not the inferences.
    with special(mlp(), "small", descriptors=DESCRIPTORS) as watch:
        with watch.attack(spared=("REST", "gRPC")), crowd(watch.target.admin_port) as many:
            many.join(3 * DESCRIPTORS)
            many.read(2)
        with Wire(watch.target.admin_port) as wire:
            wire.send(get("/v2/health/live"))
            assert wire.answer().status == 200
