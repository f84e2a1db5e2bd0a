"""Devices outside of the cluster reach their site: through ports of its nodes, and through a load balancer."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

import pytest

from tests.e2e.world import SMALL_JOB, World
from tools.localcluster.native.outside import LoadBalancers, Outside

pytestmark = [pytest.mark.e2e, pytest.mark.native]

NAME = "digits"
IMAGES = 20
SITES = ("site-a", "site-b")
CLASSIFY = """
import base64, json, sys, urllib.request
for line in sys.stdin:
    headers = {"Content-Type": "image/png"}
    request = urllib.request.Request(sys.argv[1] + "/predict", base64.b64decode(line), headers)
    print(json.load(urllib.request.urlopen(request, timeout=10))["label"])
"""
LIVE = """
import grpc, sys
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=10, wait_for_ready=True).hex())
"""
TRUE_IN_PROTOBUF = "0801"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


@pytest.fixture(scope="module")
def outside(world: World) -> Outside:
    """Where nothing of the cluster runs, and no name of a Service is known."""
    expose(world, {"type": "ClusterIP"})
    return Outside()


def expose(world: World, expose: dict[str, object]) -> None:
    """The model as it is: what it is compressed to does not matter here."""
    model = world.edge_model(NAME, compression={"mode": "None", "job": {"resources": SMALL_JOB}})
    model["spec"]["serving"]["expose"] = expose
    world.apply(model)
    world.wait_ready(NAME)


def addresses(world: World, site: str) -> dict[str, str]:
    """The site's URLs in the status, by scheme."""
    (found,) = [item for item in world.fetch(NAME).status.sites if item.name == site]
    return {urlsplit(url).scheme: url for url in found.addresses or ()}


def classifies(world: World, outside: Outside, site: str) -> None:
    urls = addresses(world, site)
    images = b"\n".join(base64.b64encode(world.digits.png(index)) for index in range(IMAGES))
    labels = outside.python(CLASSIFY, urls["http"], stdin=images).split()
    right = [label == str(world.digits.labels[index]) for index, label in enumerate(labels)]
    assert len(right) == IMAGES
    assert sum(right) / IMAGES > 0.6, "a small model, and not by chance"
    assert outside.python(LIVE, urlsplit(urls["grpc"]).netloc) == TRUE_IN_PROTOBUF


def test_the_outside_has_no_way_to_a_service_that_is_not_exposed(world: World, outside: Outside) -> None:
    url = urlsplit(addresses(world, "site-a")["http"])
    assert str(url.hostname).endswith(".svc")
    assert not connects(outside, url)


def wait_for_addresses(world: World, site: str, look: Callable[[], object] = lambda: None) -> SplitResult:
    """Until the status has some that are no names in the cluster; ``look`` is done at each look."""

    def there() -> bool:
        look()
        return ".svc" not in addresses(world, site).get("http", ".svc")

    world.wait(f"an address of {site}", there, 60, lambda: addresses(world, site))
    return urlsplit(addresses(world, site)["http"])


def connects(outside: Outside, url: SplitResult) -> bool:
    try:
        outside.python(CONNECT, str(url.hostname), str(url.port))
    except subprocess.CalledProcessError:
        return False
    return True


def test_an_image_is_classified_through_a_port_of_the_sites_own_node(world: World, outside: Outside) -> None:
    expose(world, {"type": "NodePort"})
    urls = {site: wait_for_addresses(world, site) for site in SITES}
    for site, url in urls.items():
        world.wait(f"{site} to answer", lambda url=url: connects(outside, url), 60)  # type: ignore[misc]
        classifies(world, outside, site)
    # The other site's node would have to send the request on, and policy Local says that it does not.
    elsewhere = urls["site-a"]._replace(netloc=f"{urls['site-b'].hostname}:{urls['site-a'].port}")
    assert not connects(outside, elsewhere)


def test_an_image_is_classified_through_a_load_balancer(world: World, outside: Outside) -> None:
    balancers = LoadBalancers(world.cluster.kubectl)

    def answers(url: SplitResult) -> bool:
        balancers.sync()
        return connects(outside, url)

    expose(world, {"type": "LoadBalancer"})
    urls = {site: wait_for_addresses(world, site, balancers.sync) for site in SITES}
    for site, url in urls.items():
        world.wait(f"{site} to answer", lambda url=url: answers(url), 60)  # type: ignore[misc]
        classifies(world, outside, site)
    assert len({url.hostname for url in urls.values()}) == 2
