"""The files that a native node's programs read. Pure: texts from a node's description.

Inside a node's mount namespace `/run/node` is its folder of files and `/run/assets` the binaries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tools.localcluster.config import HOST_ADDRESS, NodeSpec
from tools.localcluster.native.cgroups import cgroup_root

FILES = "/run/node"
ASSETS = "/run/assets"
PAUSE_IMAGE = "edgemodel.local/pause:1"
HEARTBEAT_SECONDS = 4
# The field came with 1.31, and from 1.35 on its default makes kubelet refuse machines with the first cgroups.
FAIL_CGROUP_V1 = 31

# kubelet sets these for the whole machine and fails where it may not; it leaves alone what is right already.
# A file bound over each makes it right for kubelet's eyes, and the machine's settings stay as they are.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

# Run by the process whose mount namespace becomes the node's, with the folder of binaries as $1 and the node's
# folder as $2. /var and /run are the node's own: daemons keep their state in their usual places,
# and kubelets that shared /var/log/pods would delete each other's logs.
ENTER = f"""
set -e
cd "$2"
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/node run/assets run/kernel var/lib var/log var/tmp
ln -sfn /run var/run
mount --bind . run/node
mount --bind "$1" run/assets
{
    "".join(
        f'''
echo {value} > run/kernel/{path.replace("/", ".")}
mount --bind run/kernel/{path.replace("/", ".")} /proc/sys/{path}'''
        for path, value in KERNEL_SETTINGS.items()
    )
}
mount --bind var /var
mount --rbind run /run
touch /run/node-ready
exec sleep infinity
"""


def files(node: NodeSpec, nameservers: Iterable[str], registry_name: str, minor: int) -> dict[str, str]:
    """Path below the node's folder -> text, for all but the certificates and kubeconfigs.

    Args:
        registry_name: what images are named after, `127.0.0.1:<port>`.
        minor: kubelet's minor version.
    """
    return {
        "containerd.toml": _CONTAINERD,
        f"certs.d/{registry_name}/hosts.toml": _hosts(registry_name),
        "cni/10-pods.conflist": json.dumps(cni(node), indent=2),
        "kubelet.yaml": json.dumps(kubelet(node, minor), indent=2),
        "resolv.conf": "".join(f"nameserver {address}\n" for address in nameservers),
    }


def nameservers(resolv_conf: str) -> list[str]:
    """The name servers in a resolv.conf that a pod can reach: those on the host's loopback it cannot."""
    lines = [line.split() for line in resolv_conf.splitlines()]
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return [address for address in found if not address.startswith("127.") and address != "::1"]


def cni(node: NodeSpec) -> dict[str, Any]:
    """A bridge of the node's pods, addresses out of its pod network, and host ports."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                # A pod may reach itself through its own Service.
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet(node: NodeSpec, minor: int) -> dict[str, Any]:
    """kubelet's configuration file, for its minor version."""
    return _kubelet(node) | ({"failCgroupV1": False} if minor >= FAIL_CGROUP_V1 else {})


def _kubelet(node: NodeSpec) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{FILES}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{FILES}/pki/kubelet.crt",
        "tlsPrivateKeyFile": f"{FILES}/pki/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root(node.name),
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # A lower score than its own needs CAP_SYS_RESOURCE, which containers and some machines lack.
        "oomScoreAdj": 0,
        "resolvConf": f"{FILES}/resolv.conf",
        # A silent node shall be seen soon (see control_plane.NODE_GRACE_SECONDS): four heartbeats fit into that.
        "nodeStatusUpdateFrequency": f"{HEARTBEAT_SECONDS}s",
        "nodeStatusReportFrequency": "1m",
        "nodeLeaseDurationSeconds": 4 * HEARTBEAT_SECONDS,
        # The disk is the developer's: how full it is says nothing about the cluster.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
    }


_CONTAINERD = f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE the sandbox's own score of -998 ends in "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{FILES}/cni"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{FILES}/certs.d"
"""


def _hosts(registry_name: str) -> str:
    """Images are named after the host's loopback everywhere; in a node that name leads to the host's bridge."""
    url = f"http://{HOST_ADDRESS}:{registry_name.rpartition(':')[2]}"
    return f'server = "{url}"\n\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'
