"""TLS, peers and NetworkPolicies in the plan: what users reach never runs ahead of what serves them."""

from dataclasses import replace

import pytest

from edgemodel_contract.serving import RATE_LIMIT_VARIABLE
from edgemodel_contract.settings import number
from edgemodel_operator.manifests.names import peer_service_name
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.children import Ref
from tests.unit.operator.builders import NOW, SETTINGS, after
from tests.unit.operator.world import World

TLS = {"secretRef": {"name": "digits-tls"}}


def ports(world: World) -> dict[str, list[str]]:
    """Names of the ports, by Service."""
    return {
        name: [port["name"] for port in service["spec"]["ports"]] for name, service in world.objects["Service"].items()
    }


def peers(site: str) -> str:
    return peer_service_name("digits", site)


def policy(world: World, component: str) -> Object:
    found: Object = world.objects["NetworkPolicy"][f"digits-{component}"]["spec"]
    return found


def test_the_policies_come_before_what_they_are_for() -> None:
    world = World()
    first = [obj["kind"] for obj in world.step().apply]
    assert first == ["NetworkPolicy", "ConfigMap", "Job"]
    world.serve()
    assert sorted(world.objects["NetworkPolicy"]) == ["digits-compression", "digits-inference"]
    assert policy(world, "compression")["ingress"] == []
    assert policy(world, "inference")["egress"] == []


def test_they_go_when_the_installation_wants_none() -> None:
    world = World().serve()
    world.settings = replace(SETTINGS, network_policies=False)
    decided = world.plan()
    assert set(decided.delete) == {
        Ref("NetworkPolicy", "digits-compression"),
        Ref("NetworkPolicy", "digits-inference"),
    }
    world.settle()
    assert world.objects["NetworkPolicy"] == {}


def test_a_site_is_reached_over_tls_when_all_its_servers_speak_it_and_not_before() -> None:
    world = World().serve()
    assert ports(world) == {"digits-site-a": ["http", "grpc"], "digits-site-b": ["http", "grpc"]}
    world.edit("serving.tls", TLS).settle()
    assert ports(world)["digits-site-a"] == ["http", "grpc"], "no new server is ready yet"
    world.roll_out("site-a").settle()
    assert ports(world) == {"digits-site-a": ["https", "grpc"], "digits-site-b": ["http", "grpc"]}
    world.roll_out("site-b").settle()
    assert ports(world)["digits-site-b"] == ["https", "grpc"]


def test_a_new_site_is_reached_over_tls_from_the_start() -> None:
    world = World()
    world.edit("serving.tls", TLS).serve()
    assert ports(world) == {"digits-site-a": ["https", "grpc"], "digits-site-b": ["https", "grpc"]}


def test_replicas_find_each_other_as_long_as_any_of_them_looks() -> None:
    world = World()
    world.edit("serving.parallelism", "Site").serve()
    assert {peers("site-a"), peers("site-b")} < set(world.objects["Service"])
    assert len(policy(world, "inference")["egress"]) == 2
    world.edit("serving.parallelism", "Pod").settle()
    world.roll_out("site-a").settle()
    assert peers("site-a") not in world.objects["Service"]
    assert policy(world, "inference")["egress"] == [] or peers("site-b") in world.objects["Service"]
    world.roll_out("site-b").settle()
    assert sorted(world.objects["Service"]) == ["digits-site-a", "digits-site-b"]
    assert policy(world, "inference")["egress"] == []


def test_the_peers_of_a_site_without_its_link_stay() -> None:
    world = World()
    world.edit("serving.parallelism", "Site").serve()
    world.cut("site-b").edit("serving.parallelism", "Pod").settle()
    world.roll_out("site-a").settle()
    assert peers("site-b") in world.objects["Service"]
    assert len(policy(world, "inference")["egress"]) == 2


def test_a_server_without_its_secret_says_so_and_the_version_before_serves() -> None:
    world = World().serve()
    world.edit("serving.tls", TLS).settle()
    message = 'MountVolume.SetUp failed for volume "tls" : secret "digits-tls" not found'
    pod = world.server_pod("site-a").started(NOW).waiting("FailedMount", message)
    decided = world.stand_still("site-a", pod).settle()
    assert world.condition("Ready").reason == "SecretNotFound"
    assert "Secret digits-tls: create it" in world.condition("Ready").message
    assert world.condition("Available").status == "True"
    assert decided.requeue_after is not None, "the pod's events are read again"
    world.roll_out("site-a").settle()
    assert world.condition("Ready").reason != "SecretNotFound"


def test_a_job_without_its_secret_says_so() -> None:
    world = World()
    world.edit("model.secretRef", {"name": "credentials"}).settle()
    message = 'MountVolume.SetUp failed for volume "source" : secret "credentials" not found'
    world.put_pod(world.job_pod().started(after(-60)).waiting("FailedMount", message)).settle()
    ready = world.condition("Ready")
    assert ready.reason == "JobCannotStart"
    assert "Secret credentials does not exist" in ready.message


@pytest.mark.parametrize("per_minute", [1, 50, 3000, 59_999_999, 60_000_000])
def test_a_rate_is_written_as_servers_read_it(per_minute: int) -> None:
    auth = {"secretRef": {"name": "keys"}, "requestsPerMinute": per_minute}
    world = World().serve().edit("serving.auth", auth)
    world.settle()
    (container,) = world.deployment("site-a")["spec"]["template"]["spec"]["containers"]
    (written,) = [item["value"] for item in container["env"] if item["name"] == RATE_LIMIT_VARIABLE]
    assert 60 * number(0, 1_000_000)(written) == pytest.approx(per_minute, rel=1e-4)
