"""The cluster of this machine's own processes: a network namespace with containerd, kubelet and kube-proxy per node."""
