"""What runs, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tools.localcluster.errors import ClusterError
from tools.localcluster.handle import Cluster, Node, is_ready


def report(cluster: Cluster) -> dict[str, Any]:
    """A JSON-ready description: provider, health, problems, kubeconfig, registry, sites, nodes, processes."""
    problems = cluster.problems()
    try:
        # One question for all: where the API server hangs, each would wait for its own time to run out.
        objects = cluster.kubectl.json("get", "nodes", timeout=10)["items"]
    except ClusterError:
        objects = []
    ready = {node["metadata"]["name"] for node in objects if is_ready(node)}
    nodes = [{"name": node.name, "site": node.site, "ready": node.name in ready} for node in _nodes(cluster)]
    registry = cluster.registry
    return {
        "provider": cluster.provider,
        "healthy": not problems,
        "problems": problems,
        "kubeconfig": str(cluster.kubeconfig),
        "registry": {
            "name": registry.name,
            "hostEndpoint": registry.host_endpoint,
            "podEndpoint": registry.pod_endpoint,
        },
        "nodes": nodes,
        "processes": [asdict(process) for process in cluster.processes()],
    }


def _nodes(cluster: Cluster) -> tuple[Node, ...]:
    try:
        return cluster.nodes
    except ClusterError:
        # Told by their labels, and nobody answers: the problems say so.
        return ()


def text(found: dict[str, Any]) -> str:
    """The report as a person reads it."""
    lines = [f"{found['provider']} cluster: {'healthy' if found['healthy'] else 'NOT healthy'}"]
    lines += [f"  ! {problem}" for problem in found["problems"]]
    lines.append("nodes")
    for node in found["nodes"]:
        lines.append(f"  {node['name']:<12} {node['site'] or '(core)':<8} {'Ready' if node['ready'] else 'NotReady'}")
    if found["processes"]:
        lines.append("processes")
    for process in found["processes"]:
        state = f"pid {process['pid']}" if process["alive"] else "dead"
        lines.append(f"  {process['name']:<24} {state:<12} {process['log']}")
    lines.append(f"registry   {found['registry']['name']}  (in pods: {found['registry']['podEndpoint']})")
    lines.append(f"kubeconfig {found['kubeconfig']}")
    return "\n".join(lines)
