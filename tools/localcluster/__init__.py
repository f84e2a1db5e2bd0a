"""The local Kubernetes cluster that the demo, the tests and the benchmarks run on.

```python
from tools import localcluster

here = localcluster.up()                  # or localcluster.load() where one is up already
here.kubectl("apply", "-f", "manifests/samples/digits.yaml")
here.site("site-b").cut()
```
On the command line: `python -m tools.localcluster --help`. Three providers: `native` (etcd, Kubernetes, containerd as
processes of this machine, with a network namespace per node), `kind` (where a Docker engine answers) and
`existing` (the cluster that KUBECONFIG names). An API server alone is in `tools.localcluster.native.control_plane`.

Rooms: `config` (what a cluster looks like), `providers` (which one), `native/` (its control plane, nodes, network and
registry), `kind`, `existing`, `programs/` (where Kubernetes and Debian's packages come from), `images/` (the project's
own), `system/` (processes, commands, folders and progress of this machine), `handle` (what tests and the demo use).
"""

from tools.localcluster.config import ClusterConfig
from tools.localcluster.errors import ClusterError, CommandFailedError, NotSupportedError
from tools.localcluster.handle import Cluster, Node, Registry, Site
from tools.localcluster.providers import down, load, up

__all__ = [
    "Cluster",
    "ClusterConfig",
    "ClusterError",
    "CommandFailedError",
    "Node",
    "NotSupportedError",
    "Registry",
    "Site",
    "down",
    "load",
    "up",
]
