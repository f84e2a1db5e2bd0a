"""What is installed, and what the operator makes, is held against Pod Security *restricted*, the checks of kube-linter
and the NSA's Kubernetes Hardening Guide."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.hardening.pods import Object, findings
from tools.release.installation import BASE, PROJECT_VERSION, pod, settings
from tools.release.kustomization import build

GOLDEN = Path(__file__).parents[2] / "golden"
INSTALLED = build(BASE)
MADE = {file.name: yaml.safe_load(file.read_text()) for file in sorted(GOLDEN.glob("*.yaml"))}
PODS = {
    **{name: obj for name, obj in MADE.items() if "template" in obj.get("spec", {})},
    "manifests/base": next(obj for obj in INSTALLED if obj["kind"] == "Deployment"),
}
OF_THEIR_OWNER = {
    "job-full.yaml": ["resources: compress: no request for cpu"],
    "job-pod-template.yaml": ["credentials: compress: TOKEN holds a secret"],
    "deployment-pod-template.yaml": ["credentials: server: TOKEN holds a secret"],
}
"""What a spec asks for that says so: limits of memory alone, a Secret in a variable."""


def template(workload: Object) -> Object:
    spec: Object = copy.deepcopy(workload["spec"]["template"]["spec"])
    return spec


@pytest.mark.parametrize("name", PODS)
def test_every_pod_is_hardened(name: str) -> None:
    workload = PODS[name]
    found = findings(template(workload), runs_on=workload["kind"] == "Deployment")
    assert found == OF_THEIR_OWNER.get(name, [])


def test_servers_and_jobs_of_every_kind_were_looked_at() -> None:
    assert {obj["kind"] for obj in PODS.values()} == {"Deployment", "Job"}
    assert len(PODS) >= 8


def container(change: Callable[[Object], object]) -> Callable[[Object], object]:
    return lambda pod: change(pod["containers"][0])


def context(**values: object) -> Callable[[Object], object]:
    return container(lambda it: it["securityContext"].update(values))


FAULTS: dict[str, Callable[[Object], object]] = {
    "host: hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "host: hostPID": lambda pod: pod.update(hostPID=True),
    "host: server: hostPort": container(lambda it: it["ports"][0].update(hostPort=80)),
    "host: server: a probe": container(lambda it: it["livenessProbe"]["httpGet"].update(host="10.0.0.1")),
    "privileges: server: privileged": context(privileged=True),
    "privileges: server: may escalate": context(allowPrivilegeEscalation=True),
    "privileges: server: keeps": context(capabilities={}),
    "privileges: server: adds": context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "kernel: server: seccomp": context(seccompProfile={"type": "Unconfined"}),
    "kernel: server: no seccomp": lambda pod: pod["securityContext"].pop("seccompProfile"),
    "kernel: server: SELinux": context(seLinuxOptions={"type": "spc_t"}),
    "kernel: server: /proc": context(procMount="Unmasked"),
    "kernel: pod: sysctls": lambda pod: pod["securityContext"].update(sysctls=[{"name": "net.core.somaxconn"}]),
    "users: pod: runAsNonRoot": lambda pod: pod["securityContext"].pop("runAsNonRoot"),
    "users: server: runAsUser": context(runAsUser=0),
    "volumes: volume tls: hostPath": lambda pod: pod.update(volumes=[{"name": "tls", "hostPath": {"path": "/"}}]),
    "file_system: server": context(readOnlyRootFilesystem=False),
    "file_system: volume work": lambda pod: pod.update(volumes=[{"name": "work", "emptyDir": {}}]),
    "credentials: pod: the token": lambda pod: pod.pop("automountServiceAccountToken"),
    "credentials: pod: learns": lambda pod: pod.pop("enableServiceLinks"),
    "credentials: server: KEY_TOKEN": container(lambda it: it["env"].append({"name": "KEY_TOKEN", "value": "x"})),
    "resources: server: no limit": container(lambda it: it["resources"].pop("limits")),
    "images: server": container(lambda it: it.update(image="registry.test:5000/server")),
    "images: server: registry.test:5000/server:latest": container(
        lambda it: it.update(image="registry.test:5000/server:latest")
    ),
    "probes: server: no livenessProbe": container(lambda it: it.pop("livenessProbe")),
    "probes: server: port 80": container(lambda it: it["ports"][0].update(containerPort=80)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    spec = template(PODS["deployment-secure.yaml"])
    FAULTS[fault](spec)
    assert [finding for finding in findings(spec, runs_on=True) if finding.startswith(fault)] != []


def test_nobody_may_do_everything() -> None:
    """No wildcards, no way to more rights, no Secrets, and no binding to a role of the cluster's own."""
    for role in (obj for obj in INSTALLED if obj["kind"] in ("ClusterRole", "Role")):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
            assert not {"secrets", "pods/exec", "pods/attach", "nodes/proxy", "serviceaccounts/token"} & set(
                rule["resources"]
            )
    bindings = [obj for obj in INSTALLED if obj["kind"] == "ClusterRoleBinding"]
    assert [binding["roleRef"]["name"] for binding in bindings] == ["edgemodel-operator"]


def test_the_namespace_enforces_what_the_pods_keep() -> None:
    (namespace,) = [obj for obj in INSTALLED if obj["kind"] == "Namespace"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels.get("pod-security.kubernetes.io/enforce-version", "latest") == "latest"


@pytest.mark.parametrize("name", [name for name, obj in MADE.items() if obj["kind"] == "NetworkPolicy"])
def test_nothing_passes_unless_a_rule_lets_it(name: str) -> None:
    """NSA. A Job goes to registries whose addresses nobody knows beforehand, so only what comes to it is named."""
    policy = MADE[name]["spec"]
    isolated = {"Ingress"} if name == "network-policy-compression.yaml" else {"Ingress", "Egress"}
    assert set(policy["policyTypes"]) == isolated
    assert {} not in [*policy["ingress"], *policy.get("egress", ())]
    assert all(rule.get("ports") for rule in policy["ingress"])


@pytest.mark.parametrize("objects", [[PODS["manifests/base"], *INSTALLED], list(MADE.values())], ids=["base", "made"])
def test_selectors_find_what_they_are_for(objects: list[Object]) -> None:
    """kube-linter: no dangling Service, no Deployment that does not find its pods, no port with nothing behind it."""
    workloads = [obj for obj in objects if obj["kind"] == "Deployment"]
    for workload in workloads:
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in (obj for obj in objects if obj["kind"] == "Service"):
        behind = [
            template(workload)
            for workload in workloads
            if service["spec"]["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert behind, f"{service['metadata']['name']} selects nothing"
        ports = [port for spec in behind for port in spec["containers"][0]["ports"]]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= known


def test_the_manifests_name_the_images_of_this_version() -> None:
    (operator,) = pod(INSTALLED)["containers"]
    data = settings(INSTALLED)
    images = [operator["image"], data["EDGEMODEL_COMPRESSION_IMAGE"], data["EDGEMODEL_INFERENCE_IMAGE"]]
    assert [image.rpartition(":")[2] for image in images] == [PROJECT_VERSION] * 3
