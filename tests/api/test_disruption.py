"""Drains: the real disruption controller and eviction API, held to one replica of a site at a time."""

import pytest

from tests.api import pod_statuses
from tests.api.client import RefusedError
from tests.api.edge_model import SERVER, Model
from tests.api.waiting import eventually
from tests.api.world import World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

TWO = {"minReplicas": 2, "maxReplicas": 2}


@pytest.fixture
def model(world: World) -> Model:
    model = world.create(placement=world.own_site("east"), scaling=TWO)
    model.finish_job()
    model.wait_for_pods("east", 2)
    for number, pod in enumerate(model.server_pods("east")):
        model.patch_pod(pod, pod_statuses.ready(SERVER, f"127.0.0.{number + 1}"))
    return model


def allowed(model: Model) -> int | None:
    (budget,) = model.children("PodDisruptionBudget") or [{}]
    found: int | None = budget.get("status", {}).get("disruptionsAllowed")
    return found


def test_a_drain_takes_one_replica_of_a_site_at_a_time(world: World, model: Model) -> None:
    eventually("one disruption to be allowed", lambda: allowed(model) == 1, explain=model.explain)
    first, second = [pod["metadata"]["name"] for pod in model.server_pods("east")]
    world.api.evict(world.namespace, first)
    with pytest.raises(RefusedError) as refused:
        world.api.evict(world.namespace, second)
    assert refused.value.status == 429


def test_it_goes_with_the_second_replica(model: Model) -> None:
    eventually("a disruption budget", lambda: model.children("PodDisruptionBudget"), explain=model.explain)
    model.edit({"scaling": {"minReplicas": 1, "maxReplicas": 1}})
    eventually("no disruption budget", lambda: not model.children("PodDisruptionBudget"), explain=model.explain)
