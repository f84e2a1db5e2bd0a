"""What the API server does not admit is said in its words: a LimitRange in the way of a Job's pod and of a site's."""

import pytest

from tests.api.world import World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]


def limit_memory(world: World, most: str) -> None:
    world.api.create(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small", "namespace": world.namespace},
            "spec": {"limits": [{"type": "Container", "max": {"memory": most}}]},
        }
    )


def test_a_job_whose_pod_is_not_admitted_says_why_and_goes_on_when_it_is(world: World) -> None:
    limit_memory(world, "64Mi")
    digits = world.create()
    ready = digits.wait_for("Ready", "False", "PodsRejected")
    assert "maximum memory usage per Container is 64Mi" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    world.api.delete("LimitRange", world.namespace, "small")
    digits.edit({"compression": {"job": {"resources": {"limits": {"memory": "1Gi"}}}}})
    digits.finish_job(attempt=2)
    for site in ("site-a", "site-b"):
        digits.serve(site)
    digits.wait_for("Ready", "True")


def test_a_site_whose_pods_are_not_admitted_says_why(world: World) -> None:
    digits = world.create()
    digits.finish_job()
    digits.serve("site-a")
    limit_memory(world, "512Mi")
    digits.wait_for_site("site-b", "Degraded", "PodsRejected")
    ready = digits.wait_for("Ready", "False", "PodsRejected")
    assert "maximum memory usage per Container is 512Mi, but limit is 1Gi" in ready["message"]
    assert digits.site("site-a")["state"] == "Ready"
