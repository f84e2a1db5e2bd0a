"""How sites are reached from outside: which ports they have, and what the status says."""

from typing import Any

import pytest

from edgemodel_operator.kube.projection import child_from, node_from, pod_from
from edgemodel_operator.manifests.deployment import revision
from edgemodel_operator.manifests.service import build_service
from edgemodel_operator.observed import Node, Object, Pod, Service
from edgemodel_operator.plan.policy.exposure import MAX_HOSTS, addresses, site_expose
from edgemodel_operator.plan.policy.refusal import refusal_reason
from tests.unit.operator.builders import edge_model
from tests.unit.operator.world import World


def a_node(name: str, **known: str) -> Node:
    listed = [{"type": kind, "address": address} for kind, address in known.items()]
    return node_from({"metadata": {"name": name}, "status": {"addresses": listed}})


def a_pod(node: str, *, ready: bool = True) -> Pod:
    status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    return pod_from({"metadata": {"name": f"on-{node}"}, "spec": {"nodeName": node}, "status": status})


def service(expose: Object, *, secure: bool = False, status: Object | None = None) -> Service:
    """As an API server gives it back: with the node ports that it chose."""
    builder = edge_model().set("serving.expose", expose)
    built = build_service(builder.build(), "site-a", site_expose(builder.spec(), "site-a"), secure=secure)
    if expose.get("type", "ClusterIP") != "ClusterIP":
        for number, port in enumerate(built["spec"]["ports"]):
            port.setdefault("nodePort", 31000 + number)
    found = child_from("Service", built | {"status": status or {}})
    assert isinstance(found, Service)
    return found


NODES = [a_node("n1", InternalIP="10.0.0.1"), a_node("n2", InternalIP="10.0.0.2", ExternalIP="198.51.100.2")]


def test_a_cluster_ip_is_reached_by_its_name() -> None:
    host = "digits-site-a.default.svc"
    assert addresses(service({}), "default", NODES, []) == (f"http://{host}:80", f"grpc://{host}:8081")
    assert addresses(service({}, secure=True), "default", NODES, []) == (f"https://{host}:443", f"grpcs://{host}:8081")


def test_node_ports_are_reached_on_nodes_that_serve() -> None:
    pods = [a_pod("n1"), a_pod("n2", ready=False), a_pod("elsewhere")]
    assert addresses(service({"type": "NodePort"}), "default", NODES, pods) == (
        "http://10.0.0.1:31000",
        "grpc://10.0.0.1:31001",
    )


def test_node_ports_are_reached_on_all_nodes_where_all_answer_and_from_outside_where_that_is_known() -> None:
    everywhere = service({"type": "NodePort", "externalTrafficPolicy": "Cluster", "nodePort": 30080})
    web = [url for url in addresses(everywhere, "default", NODES, []) if url.startswith("http:")]
    assert web == ["http://10.0.0.1:30080", "http://198.51.100.2:30080"]


@pytest.mark.parametrize(
    ("ingress", "hosts"),
    [
        ([], []),
        ([{"ip": "203.0.113.7"}], ["203.0.113.7"]),
        ([{"hostname": "lb.example"}], ["lb.example"]),
        ([{"ip": "203.0.113.7"}, {"ip": "203.0.113.7"}], ["203.0.113.7"]),
        ([{"ip": "2001:db8::7"}, {"ip": "203.0.113.7"}], ["[2001:db8::7]", "203.0.113.7"]),
    ],
    ids=["pending", "address", "name", "one twice", "both families"],
)
def test_a_load_balancer_is_reached_on_what_it_was_given(ingress: list[Object], hosts: list[str]) -> None:
    found = service({"type": "LoadBalancer"}, status={"loadBalancer": {"ingress": ingress}})
    wanted = [url for host in hosts for url in (f"http://{host}:80", f"grpc://{host}:8081")]
    assert list(addresses(found, "default", NODES, [a_pod("n1")])) == wanted


def test_many_nodes_do_not_fill_the_status() -> None:
    nodes = [a_node(f"n{number}", InternalIP=f"10.0.1.{number}") for number in range(100)]
    found = addresses(service({"type": "NodePort", "externalTrafficPolicy": "Cluster"}), "default", nodes, [])
    assert len(found) == 2 * MAX_HOSTS


def exposed(**fields: Any) -> World:
    """Served first, and exposed then."""
    world = World().serve().edit("serving.expose", {"type": "NodePort", **fields})
    world.settle()
    return world


def ports(world: World, site: str) -> dict[str, int]:
    built = world.objects["Service"][f"digits-{site}"]
    return {port["name"]: port["nodePort"] for port in built["spec"]["ports"] if "nodePort" in port}


def test_one_port_for_two_sites_is_the_firsts_and_said() -> None:
    world = exposed(nodePort=30080)
    assert ports(world, "site-a") == {"http": 30080}
    assert world.objects["Service"]["digits-site-b"]["spec"]["type"] == "ClusterIP"
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "NodePortConflict")
    assert "Service/digits-site-b is left as it is: node port 30080 is that of site site-a" in ready.message
    assert world.condition("Available").status == "True", "servers run all the same"


def test_each_site_may_have_ports_of_its_own() -> None:
    world = exposed(nodePort=30080)
    own = {"site": "site-b", "serving": {"expose": {"nodePort": 30090, "grpcNodePort": 30091}}}
    world.edit("placement.overrides", [own]).settle()
    assert ports(world, "site-a") == {"http": 30080}
    assert ports(world, "site-b") == {"http": 30090, "grpc": 30091}
    assert world.condition("Ready").status == "True"


def test_a_service_that_has_another_port_is_left_as_it_is() -> None:
    world = exposed()
    before = world.objects["Service"]["digits-site-b"]
    world.edit("serving.expose", {"type": "NodePort", "nodePort": 30080}).settle()
    assert world.objects["Service"]["digits-site-b"] == before
    assert world.condition("Ready").reason == "NodePortConflict"


def test_another_way_to_reach_servers_restarts_none() -> None:
    world = World().serve()
    before = {site: revision(world.deployment(site)) for site in ("site-a", "site-b")}
    world.edit("serving.expose", {"type": "LoadBalancer"}).settle()
    assert {item["spec"]["type"] for item in world.objects["Service"].values()} == {"LoadBalancer"}
    assert {site: revision(world.deployment(site)) for site in before} == before
    assert world.condition("Ready").status == "True"


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (409, "Apply failed with 1 conflict", "NameConflict"),
        (422, "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated", "NodePortConflict"),
        (422, "provided port is not in the valid range. The range of valid ports is 30000-32767", "Rejected"),
        (403, "exceeded quota: ports", "Rejected"),
        (500, ".spec.loadBalancerClass: field not declared in schema", "Rejected"),
        (500, "failed to allocate a nodePort: range is full", "Rejected"),
        (500, "etcdserver: request timed out", None),
        (503, "apiserver is shutting down", None),
    ],
)
def test_a_refusal_is_named(status: int, message: str, reason: str | None) -> None:
    assert refusal_reason(status, message) == reason
