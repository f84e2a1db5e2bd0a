"""The worst days: the operator dies, a site loses its link or its power, the registry is gone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e

NAME = "digits"


@pytest.fixture(scope="module", autouse=True)
def serving(world: World) -> None:
    world.apply(world.edge_model(NAME))
    world.wait_ready(NAME)


@contextmanager
def steady_requests(ask: Callable[[], int]) -> Iterator[Counter[int]]:
    """One request after the other in the background; counts the HTTP status codes, 0 for no answer."""
    codes: Counter[int] = Counter()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                codes[ask()] += 1
            except httpx.HTTPError:
                codes[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield codes
    finally:
        stop.set()
        thread.join()


def test_both_sites_serve_what_status_deployments_and_containers_agree_on(world: World) -> None:
    digest = world.served_image(NAME).partition("@")[2]

    assert set(world.running_images(NAME).values()) == {digest}
    for site in world.cluster.sites:
        assert world.accuracy(NAME, site.name) > 0.85


def test_operator_killed_in_the_middle_of_a_rollout(world: World) -> None:
    before = world.served_image(NAME)
    url = world.site_url(NAME, "site-a")
    png = world.digits.png(0)
    with (
        httpx.Client(timeout=30) as client,
        steady_requests(
            lambda: client.post(f"{url}/predict", files={"image": ("scan.png", png, "image/png")}).status_code
        ) as codes,
    ):
        changed = world.edge_model(NAME)
        changed["spec"]["compression"] |= {"mode": "None"}
        world.apply(changed)
        world.wait("the new version on its way", lambda: world.served_image(NAME) != before, 240)
        world.cluster.operator.kill()
        world.wait_ready(NAME)

    assert set(world.running_images(NAME).values()) == {world.served_image(NAME).partition("@")[2]}
    assert set(codes) == {200}, f"answers during the rollout: {codes}"
    assert world.accuracy(NAME, "site-b") > 0.85


def test_cut_off_site_keeps_serving_and_is_updated_when_it_is_back(world: World) -> None:
    site = world.cluster.site("site-b")
    before = world.served_image(NAME)
    site.cut()
    try:
        world.wait(
            "site-b to be Disconnected",
            lambda: {s.name: s.state for s in world.fetch(NAME).status.sites}.get("site-b") == "Disconnected",
            120,
        )
        ready = world.condition(NAME, "Ready")
        assert ready is not None
        assert ready.status == "True", ready.message
        assert "site-b" in ready.message
        changed = world.edge_model(NAME)
        changed["spec"]["compression"] |= {"objectives": {"maxSize": "5Mi"}}
        changed["spec"]["serving"] |= {"classNames": ["zero", *(str(digit) for digit in range(1, 10))]}
        world.apply(changed)
        condition = world.wait_reason(NAME, "SitesDisconnected")
        assert "site-b" in condition.message
        deployed = world.cluster.kubectl.json("get", "deployment", f"{NAME}-site-b", "-n", world.namespace)
        assert deployed["spec"]["template"]["spec"]["containers"][0]["image"] == before
    finally:
        site.restore()
    world.wait_ready(NAME)

    assert set(world.running_images(NAME).values()) == {world.served_image(NAME).partition("@")[2]}


def test_power_cut_at_a_site_is_over_when_the_power_is_back_without_the_registry(world: World) -> None:
    (node,) = world.cluster.site("site-a").nodes
    world.cluster.registry.stop()
    try:
        node.kill()
        world.wait("the node to be NotReady", lambda: not node.ready, 120)
        node.start()
        world.wait("the node to be Ready", lambda: node.ready, 120)
        world.wait_ready(NAME)
        url = world.site_url(NAME, "site-a")

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        world.wait("site-a to serve from the images it has", answers, 120)
    finally:
        world.cluster.registry.start()


def test_registry_down_is_waited_out(world: World) -> None:
    world.cluster.registry.stop()
    try:
        world.apply(world.edge_model("patient"))
        condition = world.wait_reason("patient", "RegistryUnavailable")
        assert world.cluster.registry.name in condition.message
    finally:
        world.cluster.registry.start()

    world.wait_ready("patient")


def test_children_go_with_an_edge_model_that_is_deleted_while_the_operator_is_down(world: World) -> None:
    world.apply(world.edge_model("short-lived"))
    world.wait_ready("short-lived")
    kubectl = world.cluster.kubectl
    kubectl("scale", "-n", "edgemodel-system", "deployment/edgemodel-operator", "--replicas=0")
    try:
        kubectl("delete", "edgemodel", "short-lived", "-n", world.namespace, "--timeout=30s")
        world.wait(
            "the garbage collector",
            lambda: (
                not kubectl.json(
                    *("get", "deployments,services,jobs,configmaps", "-n", world.namespace),
                    *("-l", "edge5g.io/model=short-lived"),
                )["items"]
            ),
            120,
        )
    finally:
        kubectl("scale", "-n", "edgemodel-system", "deployment/edgemodel-operator", "--replicas=1")
        kubectl("rollout", "status", "-n", "edgemodel-system", "deployment/edgemodel-operator", "--timeout=120s")
