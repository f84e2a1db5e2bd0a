"""The first latency loop, whole: pods' histograms are scraped over HTTP, and replicas move."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api import pod_statuses
from tests.api.edge_model import SERVER, Model
from tests.api.slow_server import SlowServer
from tests.api.waiting import eventually, steady
from tests.api.world import World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

SCALING = {
    "minReplicas": 1,
    "maxReplicas": 3,
    "target": {"latency": "20ms", "percentile": 95},
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}},
}


class Fleet:
    """The servers of one site: every pod that the Deployment asks for gets one."""

    def __init__(self, model: Model, site: str) -> None:
        self.model = model
        self.site = site
        self.latency: float | None = None
        self._servers: dict[str, SlowServer] = {}
        self._stack = ExitStack()

    def follow(self) -> None:
        """New pods become ready, and all are as fast as ``latency`` says."""
        for pod in self.model.server_pods(self.site):
            name = pod["metadata"]["name"]
            if name not in self._servers:
                server = self._servers[name] = SlowServer()
                self._stack.enter_context(server.serving())
                self.model.patch_pod(pod, pod_statuses.ready(SERVER, server.ip))
        for server in self._servers.values():
            server.latency = self.latency

    def wait_for_replicas(self, count: int) -> None:
        """Follow until the Deployment asks for ``count`` replicas and has them."""

        def reached() -> bool:
            self.follow()
            deployment = self.model.wait_for_deployment(self.site)
            return bool(
                deployment["spec"]["replicas"] == count and deployment["status"].get("readyReplicas", 0) == count
            )

        eventually(f"{count} replicas", reached, explain=self.model.explain)

    def close(self) -> None:
        """Stop all servers."""
        self._stack.close()


@pytest.fixture
def fleet(world: World) -> Iterator[Fleet]:
    model = world.create(placement=world.own_site("east"), scaling=SCALING)
    model.finish_job()
    model.wait_for_deployment("east")
    fleet = Fleet(model, "east")
    yield fleet
    fleet.close()


def test_replicas_rise_with_latency_to_the_maximum_and_fall_back(fleet: Fleet) -> None:
    model = fleet.model
    fleet.latency = 0.05
    fleet.wait_for_replicas(2)
    fleet.wait_for_replicas(3)
    model.wait_for("ScalingActive", "True", "AtMaximum")
    model.wait_for("Ready", "True")
    site = model.site("east")
    assert 0.03 <= float(site["latency"].removesuffix("ms")) / 1000 <= 0.05
    assert float(site["requestsPerSecond"]) > 0
    eventually("3 replicas in the status", lambda: model.site("east")["replicas"] == model.status["replicas"] == 3)

    fleet.latency = 0.004
    fleet.wait_for_replicas(1)
    model.wait_for("ScalingActive", "True", "OnTarget")
    model.wait_for("Ready", "True")
    told = [event["reason"] for event in model.events()]
    assert told.count("RollingOut") == 1, "scaling is no rollout"
    assert told.count("Ready") == 1


def test_without_figures_replicas_are_held(fleet: Fleet) -> None:
    fleet.latency = 0.05
    fleet.wait_for_replicas(3)
    fleet.close()
    fleet.model.wait_for("ScalingActive", "False", "NoMetrics")
    steady("replicas", lambda: fleet.model.wait_for_deployment("east")["spec"]["replicas"], seconds=2)
    assert "latency" not in fleet.model.site("east")


def test_a_replica_that_finds_no_room_is_said_to_be_the_limit_and_not_asked_for_again(fleet: Fleet) -> None:
    fleet.latency = 0.05
    model = fleet.model
    eventually("a first pod", lambda: model.server_pods("east"))
    fleet.follow()
    pod = eventually(
        "a second pod", lambda: [item for item in model.server_pods("east") if not item["status"].get("podIP")]
    )
    model.patch_pod(pod[0], pod_statuses.unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
    model.wait_for("ScalingActive", "True", "CapacityLimited")
    steady("replicas", lambda: model.wait_for_deployment("east")["spec"]["replicas"], seconds=2)
    model.wait_for("Ready", "True")


def test_replicas_stay_where_latency_put_them_when_a_new_version_comes(fleet: Fleet) -> None:
    fleet.latency = 0.05
    fleet.wait_for_replicas(3)
    fleet.model.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    fleet.model.wait_for_site("east", "Progressing")
    assert fleet.model.wait_for_deployment("east")["spec"]["replicas"] == 3
