"""What a pod may not have: the Pod Security Standard *restricted* as of Kubernetes 1.36, written from its text
(https://kubernetes.io/docs/concepts/security/pod-security-standards/), and what kube-linter and the NSA's Kubernetes
Hardening Guide ask for beside it.

Each check yields what it finds wrong with a pod's spec.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]
Check = Callable[[Object], Iterator[str]]

_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SECRET_NAME = re.compile("PASSWORD|TOKEN|SECRET|CREDENTIAL|PRIVATE_KEY")
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$")


def containers(pod: Object) -> Iterator[Object]:
    """Those of all kinds."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, ())


def _contexts(pod: Object) -> Iterator[tuple[str, Object]]:
    yield "pod", pod.get("securityContext", {})
    for container in containers(pod):
        yield container["name"], container.get("securityContext", {})


def host(pod: Object) -> Iterator[str]:
    """Nothing of the node: namespaces, ports, processes, probes that reach elsewhere."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is on"
    if pod.get("hostUsers") is True:
        yield "hostUsers is on"
    for where, context in _contexts(pod):
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield f"{where}: hostProcess is on"
    for container in containers(pod):
        for port in container.get("ports", ()):
            if port.get("hostPort"):
                yield f"{container['name']}: hostPort {port['hostPort']}"
        handlers = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
        handlers += container.get("lifecycle", {}).values()
        for handler in handlers:
            if any("host" in handler.get(kind, {}) for kind in ("httpGet", "tcpSocket")):
                yield f"{container['name']}: a probe or hook names a host"


def privileges(pod: Object) -> Iterator[str]:
    """No privileged container, and nothing to escalate by."""
    for container in containers(pod):
        context = container.get("securityContext", {})
        if context.get("privileged"):
            yield f"{container['name']}: privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: may escalate its privileges"
        capabilities = context.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()):
            yield f"{container['name']}: keeps capabilities"
        if added := set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            yield f"{container['name']}: adds {', '.join(sorted(added))}"


def kernel(pod: Object) -> Iterator[str]:
    """Default profiles of seccomp, AppArmor, SELinux and /proc; no sysctls."""
    for where, context in _contexts(pod):
        if context.get("seccompProfile", {}).get("type") not in (None, "RuntimeDefault", "Localhost"):
            yield f"{where}: seccomp is off"
        if context.get("appArmorProfile", {}).get("type") not in (None, "RuntimeDefault", "Localhost"):
            yield f"{where}: AppArmor is off"
        labels = context.get("seLinuxOptions", {})
        if labels.get("type", "") not in (
            "",
            "container_t",
            "container_init_t",
            "container_kvm_t",
            "container_engine_t",
        ):
            yield f"{where}: SELinux type {labels['type']}"
        if labels.get("user") or labels.get("role"):
            yield f"{where}: SELinux user or role"
        if context.get("procMount", "Default") != "Default":
            yield f"{where}: /proc is unmasked"
        if context.get("sysctls"):
            yield f"{where}: sysctls"
    inherited = pod.get("securityContext", {}).get("seccompProfile")
    for container in containers(pod):
        if not (inherited or container.get("securityContext", {}).get("seccompProfile")):
            yield f"{container['name']}: no seccomp profile"


def users(pod: Object) -> Iterator[str]:
    """No root, said so that the kubelet checks it; no group 0 either (NSA)."""
    for where, context in _contexts(pod):
        for name in ("runAsUser", "runAsGroup", "fsGroup"):
            if context.get(name) == 0:
                yield f"{where}: {name} is 0"
        if context.get("runAsNonRoot") is False:
            yield f"{where}: may run as root"
        if 0 in context.get("supplementalGroups", ()):
            yield f"{where}: group 0"
    if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
        yield "pod: runAsNonRoot is not set"


def volumes(pod: Object) -> Iterator[str]:
    """Only kinds that hold nothing of the node."""
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}: {kind}"


def file_system(pod: Object) -> Iterator[str]:
    """NSA: an immutable root file system, and room to write that has an end."""
    for container in containers(pod):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: its root file system is writable"
    for volume in pod.get("volumes", ()):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']}: no size limit"


def credentials(pod: Object) -> Iterator[str]:
    """NSA: no token where none is used, and no secret in a variable."""
    if pod.get("serviceAccountName", "default") == "default" and pod.get("automountServiceAccountToken") is not False:
        yield "pod: the token of the default ServiceAccount is mounted"
    if pod.get("enableServiceLinks") is not False:
        yield "pod: learns every Service of its namespace"
    for container in containers(pod):
        for variable in container.get("env", ()):
            if "secretKeyRef" in variable.get("valueFrom", {}) or (
                variable.get("value") and _SECRET_NAME.search(variable["name"])
            ):
                yield f"{container['name']}: {variable['name']} holds a secret"
        if any("secretRef" in source for source in container.get("envFrom", ())):
            yield f"{container['name']}: a Secret becomes variables"


def resources(pod: Object) -> Iterator[str]:
    """kube-linter: what the scheduler counts with, and a bound on memory. A CPU limit is the owner's choice."""
    for container in containers(pod):
        asked = container.get("resources", {})
        limits, requests = asked.get("limits", {}), asked.get("requests", {})
        if "memory" not in limits:
            yield f"{container['name']}: no limit on memory"
        for name in ("cpu", "memory"):
            if name not in requests and name not in limits:
                yield f"{container['name']}: no request for {name}"


def images(pod: Object) -> Iterator[str]:
    """kube-linter: every image says which one it is."""
    for container in containers(pod):
        if not _PINNED.search(container["image"]):
            yield f"{container['name']}: {container['image']} has no tag, or the tag latest"


def probes(pod: Object) -> Iterator[str]:
    """kube-linter, for what runs on: ready and live are asked, at ports that are there."""
    for container in pod["containers"]:
        named = {port["name"] for port in container.get("ports", ())}
        for kind in ("livenessProbe", "readinessProbe"):
            if kind not in container:
                yield f"{container['name']}: no {kind}"
            elif container[kind].get("httpGet", {}).get("port") not in named:
                yield f"{container['name']}: {kind} asks a port that the container does not name"
        for port in container.get("ports", ()):
            if port["containerPort"] < 1024:
                yield f"{container['name']}: port {port['containerPort']} needs privileges"


RESTRICTED: tuple[Check, ...] = (host, privileges, kernel, users, volumes)
HARDENED: tuple[Check, ...] = (*RESTRICTED, file_system, credentials, resources, images)


def findings(pod: Object, *, runs_on: bool) -> list[str]:
    """All that is wrong with a pod; `runs_on`: it is to be probed, for it does not end by itself."""
    checks = (*HARDENED, probes) if runs_on else HARDENED
    return [f"{check.__name__}: {finding}" for check in checks for finding in check(pod)]
