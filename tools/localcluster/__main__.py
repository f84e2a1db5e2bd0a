"""`python -m tools.localcluster`: bring the local cluster up, look at it, take it down."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from tools.localcluster import kind, providers
from tools.localcluster.config import PROVIDERS, ClusterConfig
from tools.localcluster.errors import ClusterError
from tools.localcluster.handle import Cluster
from tools.localcluster.programs import assets
from tools.localcluster.status import report, text
from tools.localcluster.system.progress import Progress, clock

_EPILOG = """
providers:
  native    etcd, Kubernetes and containerd as processes of this machine, a network namespace per node;
            needs Linux, Debian and root; compiles Kubernetes once (some minutes), later starts take seconds
  kind      containers of a Docker engine; needs `docker` and `kind`
  existing  the cluster that KUBECONFIG names; only its namespaces of ours are touched
  auto      what is up already; else existing where KUBECONFIG is set, else kind where it can run, else native

folders:
  $XDG_CACHE_HOME/edgemodel           built binaries (default ~/.cache/edgemodel)
  $XDG_STATE_HOME/edgemodel/cluster   data, logs and kubeconfig of what runs (default ~/.local/state/…)

KUBEBUILDER_ASSETS names a folder with other Kubernetes binaries to use instead of built ones.
"""


def main() -> int:
    """Run one command; 0 when all is well, 1 when the cluster is not healthy, 2 when it could not be done."""
    arguments = _parser().parse_args()
    progress = Progress()
    try:
        match arguments.command:
            case "up":
                return _up(arguments, progress)
            case "status":
                return _status(arguments.json)
            case "assets":
                print(assets.resolve(progress, nodes=True).folder)
            case "down":
                providers.down(progress, arguments.purge_cache)
        return 0
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.localcluster",
        description="A real Kubernetes on this machine: a core node and edge sites.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|status|down|assets")
    up = commands.add_parser("up", help="start the cluster, or mend the one that is up")
    up.add_argument("--sites", type=int, help="number of edge sites: site-a, site-b, … (default 2)")
    up.add_argument("--nodes-per-site", type=int, help="nodes in each site (default 1)")
    up.add_argument("--provider", choices=("auto", *PROVIDERS), default="auto", help="see below (default auto)")
    up.add_argument("--registry-port", type=int, help="of the local registry (default 5000, with kind 5001)")
    status = commands.add_parser("status", help="say what runs; exit code 1 unless all is well")
    status.add_argument("--json", action="store_true", help="for programs")
    down = commands.add_parser("down", help="remove the cluster and everything it put on this machine")
    down.add_argument("--purge-cache", action="store_true", help="remove the built binaries too")
    commands.add_parser("assets", help="build or find the Kubernetes binaries and print their folder")
    return parser


def _up(arguments: argparse.Namespace, progress: Progress) -> int:
    began = time.monotonic()
    cluster = providers.up(_config(arguments), progress)
    taken = clock(time.monotonic() - began)
    print(f"{cluster.provider} cluster with {len(cluster.nodes)} nodes is up after {taken}.")
    print(f"images:  {cluster.registry.name}/…  (registry {cluster.registry.host_endpoint})")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _config(arguments: argparse.Namespace) -> ClusterConfig | None:
    asked = (arguments.sites, arguments.nodes_per_site, arguments.registry_port)
    if asked == (None, None, None) and arguments.provider == "auto":
        return None
    base = providers.recorded() or ClusterConfig(provider=providers.choose(dict(os.environ), kind.available()))
    return ClusterConfig(
        sites=arguments.sites or base.sites,
        nodes_per_site=arguments.nodes_per_site or base.nodes_per_site,
        provider=base.provider if arguments.provider == "auto" else arguments.provider,
        registry_port=base.registry_port if arguments.registry_port is None else arguments.registry_port,
    )


def _status(as_json: bool) -> int:
    cluster: Cluster = providers.load()
    found = report(cluster)
    print(json.dumps(found, indent=2) if as_json else text(found))
    return 0 if found["healthy"] else 1


if __name__ == "__main__":
    sys.exit(main())
