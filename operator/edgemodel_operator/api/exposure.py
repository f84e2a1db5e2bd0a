"""How clients outside of the cluster reach each site's servers."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from edgemodel_contract.base import Rule, Struct
from edgemodel_operator.api.pods import Annotations

Port = Annotated[int, Meta(ge=1, le=65535)]

_OWN_ANNOTATIONS = Rule(
    "!has(self.annotations) || self.annotations.all(k, !k.startsWith('edge5g.io/'))",
    lambda s: not any(key.startswith("edge5g.io/") for key in s.annotations),
    "annotations that begin with edge5g.io/ are the operator's",
)
_TWO_PORTS = Rule(
    "!has(self.nodePort) || !has(self.grpcNodePort) || self.nodePort != self.grpcNodePort",
    lambda s: s.node_port is None or s.node_port != s.grpc_node_port,
    "nodePort and grpcNodePort must differ",
)


class Expose(Struct, frozen=True, kw_only=True):
    """How each site's servers are reached: the kind of its Service. A change restarts no server."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _OWN_ANNOTATIONS,
        _TWO_PORTS,
        Rule(
            "self.type != 'ClusterIP' || !(has(self.nodePort) || has(self.grpcNodePort))",
            lambda s: s.type != "ClusterIP" or (s.node_port is None and s.grpc_node_port is None),
            "nodePort and grpcNodePort go with type NodePort or LoadBalancer",
        ),
        Rule(
            "self.type == 'LoadBalancer' || !has(self.loadBalancerClass)",
            lambda s: s.type == "LoadBalancer" or s.load_balancer_class is None,
            "loadBalancerClass goes with type LoadBalancer",
        ),
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """ClusterIP: from pods and nodes. NodePort: on a port of nodes. LoadBalancer: on an address of its own."""
    annotations: Annotations = field(default_factory=dict)
    """Annotations of the Services, such as load balancers read."""
    load_balancer_class: Annotated[str, Meta(min_length=1, max_length=317)] | None = None
    """Who makes the load balancer. Absent: the cluster's default. Needs Kubernetes 1.22."""
    external_traffic_policy: Literal["Local", "Cluster"] = "Local"
    """For NodePort and LoadBalancer. Local: only nodes with a server answer, and servers see the clients' addresses.
    Cluster: every node answers, on other sites, too."""
    internal_traffic_policy: Literal["Local", "Cluster"] | None = None
    """Local: pods and nodes reach only servers on their own node. Absent: all of the site. Needs Kubernetes 1.22."""
    node_port: Port | None = None
    """Port of HTTP on nodes, which only one site can have. Absent: Kubernetes chooses one for each site."""
    grpc_node_port: Port | None = None
    """Port of gRPC on nodes, which only one site can have. Absent: Kubernetes chooses one for each site."""


class ExposeOverride(Struct, frozen=True, kw_only=True):
    """How one site's servers are reached differently."""

    RULES: ClassVar[tuple[Rule, ...]] = (_OWN_ANNOTATIONS, _TWO_PORTS)

    annotations: Annotations = field(default_factory=dict)
    """Added to spec.serving.expose.annotations; one of the same key is replaced."""
    node_port: Port | None = None
    """Instead of spec.serving.expose.nodePort."""
    grpc_node_port: Port | None = None
    """Instead of spec.serving.expose.grpcNodePort."""
