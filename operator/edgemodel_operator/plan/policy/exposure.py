"""Where each site is reached, and who wants a port that another site has."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from edgemodel_operator.api import Spec, reasons
from edgemodel_operator.api.exposure import Expose
from edgemodel_operator.observed import Node, Pod, Refusal, Service

MAX_HOSTS = 16
"""Of one site in the status; a site with more nodes is reached on the others, too."""


def site_expose(spec: Spec, site: str) -> Expose:
    """``spec.serving.expose`` with the overrides of ``site``."""
    expose = spec.serving.expose
    for override in spec.placement.overrides:
        if override.site != site or override.serving is None or override.serving.expose is None:
            continue
        own = override.serving.expose
        expose = replace(
            expose,
            annotations=dict(expose.annotations) | dict(own.annotations),
            node_port=own.node_port if own.node_port is not None else expose.node_port,
            grpc_node_port=own.grpc_node_port if own.grpc_node_port is not None else expose.grpc_node_port,
        )
    return expose


def doubled_ports(spec: Spec, sites: Iterable[str]) -> Mapping[str, str]:
    """Sites whose node port another one before them in ``sites`` is to have, and a sentence on it."""
    holders: dict[int, str] = {}
    found: dict[str, str] = {}
    for site in sites:
        expose = site_expose(spec, site)
        for port in (expose.node_port, expose.grpc_node_port):
            if port is None:
                continue
            if port in holders and site not in found:
                found[site] = f"node port {port} is that of site {holders[port]}, and a port belongs to one site."
            holders.setdefault(port, site)
    return found


def port_refusals(services: Mapping[str, str], doubled: Mapping[str, str]) -> dict[str, Refusal]:
    """As if the API server had refused the Services (names by site) of the sites in ``doubled``."""
    return {
        f"Service/{services[site]}": Refusal(reasons.NODE_PORT_CONFLICT, sentence) for site, sentence in doubled.items()
    }


def addresses(service: Service | None, namespace: str, nodes: Sequence[Node], pods: Iterable[Pod]) -> tuple[str, ...]:
    """URLs of a site's HTTP and gRPC: by its Service's name in the cluster, on its ``nodes``, or on the addresses
    that a load balancer has given it. Empty while there are none.
    """
    if service is None:
        return ()
    ports = [(port.name, port.number) for port in service.ports]
    match service.type:
        case "NodePort":
            hosts = _answering(service, nodes, pods)
            ports = [(port.name, port.node) for port in service.ports if port.node is not None]
        case "LoadBalancer":
            hosts = service.ingress
        case _:
            hosts = (f"{service.name}.{namespace}.svc",)
    grpc = "grpcs" if service.secure else "grpc"
    return tuple(
        _url(grpc if name == "grpc" else name, host, number)
        for host in sorted({host for host in hosts if host})[:MAX_HOSTS]
        for name, number in ports
    )


def _answering(service: Service, nodes: Sequence[Node], pods: Iterable[Pod]) -> tuple[str, ...]:
    """Addresses of the nodes that answer from outside."""
    serving = {pod.node for pod in pods if pod.ready and not pod.deleting}
    return tuple(node.address for node in nodes if not service.local or node.name in serving)


def _url(scheme: str, host: str, port: int) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}"
