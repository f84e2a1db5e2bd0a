"""Services as clients outside of the cluster need them, on a real API server: kinds, ports and addresses."""

from typing import Any

import pytest

from tests.api.client import Object, RefusedError
from tests.api.edge_model import Model
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import World
from tools.localcluster.kubectl import FIRST_WITH_RULES

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

FIRST_WITH_CLASS = 24
"""Minor version from which every server knows loadBalancerClass and internalTrafficPolicy."""


def service(model: Model, site: str) -> Object:
    (found,) = [item for item in model.children("Service") if item["metadata"]["name"] == f"{model.name}-{site}"]
    return found


def node_ports(model: Model, site: str) -> dict[str, int]:
    return {port["name"]: port["nodePort"] for port in service(model, site)["spec"]["ports"] if "nodePort" in port}


def wait_for_type(model: Model, wanted: str) -> None:
    eventually(
        f"Services of type {wanted}",
        lambda: {item["spec"]["type"] for item in model.children("Service")} == {wanted},
        explain=model.explain,
    )


def addresses(model: Model, site: str) -> list[str]:
    found: list[str] = model.site(site).get("addresses", [])
    return found


def wait_for_addresses(model: Model, site: str, *wanted: str) -> None:
    eventually(f"{site} at {wanted}", lambda: addresses(model, site) == list(wanted), explain=model.explain)


def two_nodes(world: World) -> Object:
    """A placement of two sites with a node each, which have addresses."""
    placement = world.own_site("site-a", "site-b")
    for number, site in enumerate(("site-a", "site-b"), start=1):
        listed = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
        world.api.merge("Node", "", world.node(site), {"status": {"addresses": listed}}, "status")
    return placement


def test_services_change_their_kind_there_and_back_and_no_server_restarts(
    world: World, operator: OperatorProcess
) -> None:
    digits = world.create(placement=two_nodes(world))
    digits.bring_to_ready("site-a", "site-b")
    before = {pod["metadata"]["uid"] for site in ("site-a", "site-b") for pod in digits.server_pods(site)}
    host = f"digits-site-a.{world.namespace}.svc"
    wait_for_addresses(digits, "site-a", f"http://{host}:80", f"grpc://{host}:8081")

    digits.edit({"serving": {"expose": {"type": "NodePort", "annotations": {"team": "radio"}}}})
    wait_for_type(digits, "NodePort")
    chosen = node_ports(digits, "site-a")
    assert set(chosen) == {"http", "grpc"}
    assert service(digits, "site-a")["spec"]["externalTrafficPolicy"] == "Local"
    assert service(digits, "site-a")["metadata"]["annotations"]["team"] == "radio"
    # Pods without a node are reached on none.
    for site in ("site-a", "site-b"):
        wait_for_addresses(digits, site)
    operator.settle()
    digits.nudge("look")
    steady("the operator's writes", operator.writes, seconds=1)

    digits.edit({"serving": {"expose": {"type": "LoadBalancer", "annotations": None}}})
    wait_for_type(digits, "LoadBalancer")
    assert addresses(digits, "site-a") == []
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}}
    world.api.merge("Service", world.namespace, "digits-site-a", ingress, "status")
    wait_for_addresses(digits, "site-a", "http://203.0.113.7:80", "grpc://203.0.113.7:8081")

    digits.edit({"serving": {"expose": None}})
    wait_for_type(digits, "ClusterIP")
    assert node_ports(digits, "site-a") == {}
    assert "team" not in service(digits, "site-a")["metadata"]["annotations"]
    wait_for_addresses(digits, "site-a", f"http://{host}:80", f"grpc://{host}:8081")
    digits.wait_for("Ready", "True")
    assert {pod["metadata"]["uid"] for site in ("site-a", "site-b") for pod in digits.server_pods(site)} == before


def test_a_node_port_is_reached_on_nodes_with_a_ready_server(world: World) -> None:
    expose = {"type": "NodePort"}
    digits = world.create(placement=two_nodes(world), serving={"expose": expose})
    digits.finish_job()
    pod = digits.wait_for_server_pod("site-a")
    world.api.create(
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"], "namespace": world.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": world.node("site-a")},
        }
    )
    digits.make_ready("site-a")
    digits.serve("site-b")
    digits.wait_for("Ready", "True")
    found = node_ports(digits, "site-a")
    wait_for_addresses(digits, "site-a", f"http://192.0.2.1:{found['http']}", f"grpc://192.0.2.1:{found['grpc']}")
    digits.edit({"serving": {"expose": {"externalTrafficPolicy": "Cluster"}}})
    found = node_ports(digits, "site-b")
    wait_for_addresses(digits, "site-b", f"http://192.0.2.2:{found['http']}", f"grpc://192.0.2.2:{found['grpc']}")


def test_a_port_that_another_model_has_is_said_and_taken_when_it_is_free(world: World) -> None:
    def fixed(name: str) -> Model:
        own = {"site": "site-a", "serving": {"expose": {"nodePort": 30123}}}
        return world.create(
            name, serving={"expose": {"type": "NodePort"}}, placement={"sites": ["site-a"], "overrides": [own]}
        )

    first, second = fixed("first"), fixed("second")
    first.bring_to_ready("site-a")
    assert node_ports(first, "site-a")["http"] == 30123
    second.finish_job()
    second.serve("site-a")
    ready = second.wait_for("Ready", "False", "NodePortConflict")
    assert "provided port is already allocated" in ready["message"]
    assert "spec.placement.overrides[].serving.expose" in ready["message"]
    first.delete()
    # The garbage collector may take half a minute to see the first one go.
    second.patience = 120
    second.wait_for("Ready", "True")
    assert node_ports(second, "site-a")["http"] == 30123


def test_a_port_outside_of_the_clusters_range_is_refused_in_its_words_and_what_serves_is_left(world: World) -> None:
    digits = world.create(placement={"sites": ["site-a"]})
    digits.bring_to_ready("site-a")
    before = service(digits, "site-a")
    digits.edit({"serving": {"expose": {"type": "NodePort", "nodePort": 8080}}})
    ready = digits.wait_for("Ready", "False", "Rejected")
    assert "30000-32767" in ready["message"]
    assert service(digits, "site-a") == before
    assert digits.condition("Available")["status"] == "True"


def test_a_load_balancer_of_a_class_and_servers_of_ones_own_node(world: World, operator: OperatorProcess) -> None:
    """Where the server knows these fields; what an older one says of them is passed on."""
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    expose = {"type": "LoadBalancer", "loadBalancerClass": "example.com/edge", "internalTrafficPolicy": "Local"}
    digits.edit({"serving": {"expose": expose}})
    if world.plane.kubectl.minor < FIRST_WITH_CLASS:
        message = digits.wait_for("Ready", "False", "Rejected")["message"]
        assert "field not declared in schema" in message
        assert service(digits, "site-a")["spec"]["type"] == "ClusterIP"
        return
    wait_for_type(digits, "LoadBalancer")
    found = service(digits, "site-a")["spec"]
    assert {name: found[name] for name in expose} == expose
    for site in ("site-a", "site-b"):
        wait_for_addresses(digits, site)
    operator.settle()
    digits.nudge("look")
    steady("the operator's writes", operator.writes, seconds=1)
    digits.edit({"serving": {"expose": {"loadBalancerClass": "example.com/other"}}})
    assert "may not change once set" in digits.wait_for("Ready", "False", "Rejected")["message"]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no port", {"type": "NodePort", "nodePort": 0}, "nodePort"),
    ("a port that no protocol has", {"type": "NodePort", "grpcNodePort": 65536}, "grpcNodePort"),
    ("a kind nobody knows", {"type": "ExternalName"}, "expose.type"),
    ("a policy nobody knows", {"externalTrafficPolicy": "Site"}, "externalTrafficPolicy"),
]


@pytest.mark.parametrize(("expose", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_schema_refuses(world: World, expose: Object, field: str) -> None:
    with pytest.raises(RefusedError) as refused:
        world.create(serving={"expose": expose})
    assert refused.value.status == 422
    assert field in refused.value.message


def test_rules_across_fields_are_the_schemas_or_the_operators(world: World) -> None:
    expose = {"nodePort": 30080}
    if world.plane.kubectl.minor >= FIRST_WITH_RULES:
        with pytest.raises(RefusedError) as refused:
            world.create(serving={"expose": expose})
        assert "go with type NodePort or LoadBalancer" in refused.value.message
    else:
        message = world.create(serving={"expose": expose}).wait_for("Ready", "False", "InvalidSpec")["message"]
        assert "go with type NodePort or LoadBalancer" in message
