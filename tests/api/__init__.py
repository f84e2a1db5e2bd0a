"""The operator as a process, under its own ServiceAccount, against a real kube-apiserver, controller-manager and etcd.

There are no kubelets and no scheduler: the tests play them, by writing the status of the pods that the real
controllers make. Every test has a namespace of its own; the control plane and the operator are shared.
"""
