"""The local Kubernetes cluster that the demo, the tests and the benchmarks run on.

```python
from tools import localcluster

here = localcluster.up()                  # or locallocalcluster.load() where one is up already
here.kubectl("apply", "-f", "manifests/samples/digits.yaml")
here.site("site-b").cut()
```
On the command line: `python -m tools.localcluster --help`. Three providers: `native` (etcd, Kubernetes, containerd as
processes of this machine, with a network namespace per node), `kind` (where a Docker engine answers) and
`existing` (the cluster that KUBECONFIG names). An API server alone is in `tools.localcluster.control_plane`.

Rooms: config (what a cluster looks like), providers (which one), native/node/network/cgroups/registry (the native
cluster), kind, existing, assets/kubernetes_source/packages (where programs come from), processes, pki, kubectl.
"""

from .config import ClusterConfig
from .errors import ClusterError, CommandFailedError, NotSupportedError
from .handle import Cluster, Node, Registry, Site
from .providers import down, load, up

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
