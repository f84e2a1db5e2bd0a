"""Applies the samples, watches them become ready, and checks that one image runs everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgemodel_operator.api import Condition, EdgeModel, parse
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import serving_selector
from edgemodel_operator.manifests.service import SERVICE_PORT
from tools.localcluster import Cluster, ClusterError
from tools.localcluster.system.progress import Progress, Step

from .sample import manifest

NAMESPACE = "demo"
READY_SECONDS = 600
# Each look starts a kubectl, which takes its share of the CPU that the Jobs are measured on.
_POLL_SECONDS = 1.0


def compress(cluster: Cluster, name: str, progress: Progress) -> None:
    """Apply the sample EdgeModel `name` and wait until its compression Job is done.

    One after the other: two Jobs at once on a small machine would measure each other.

    Raises:
        ClusterError: it is Stalled, or not done in time; the message is the condition's own.
    """
    with progress.step(f"kubectl apply: {name}, and its compression Job") as step:
        cluster.kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", input=manifest(name, cluster.registry))
        (model,) = _until(cluster, [name], lambda model: _is(model, "Compressed"), _compressing, step)
        step.note = _result(model)


def fetch(cluster: Cluster, names: Sequence[str]) -> list[EdgeModel]:
    """The EdgeModels as they are now."""
    resources = [f"edgemodel/{name}" for name in names]
    # Asked for one name, kubectl answers with the object itself instead of a List.
    found = cluster.kubectl.json("get", "-n", NAMESPACE, *resources)
    return [parse(raw) for raw in found.get("items", [found])]


def site_url(cluster: Cluster, model: EdgeModel, site: str) -> str:
    """Where this machine reaches the model's Service of that site."""
    return cluster.service_url(NAMESPACE, deployment_name(model, site), SERVICE_PORT)


def condition(model: EdgeModel, kind: str) -> Condition | None:
    """The condition of that type, if it speaks of the present generation."""
    for each in model.status.conditions:
        if each.type == kind and each.observed_generation == model.metadata.generation:
            return each
    return None


def wait(cluster: Cluster, names: Sequence[str], progress: Progress) -> list[EdgeModel]:
    """Wait until all are Ready; returns them.

    Raises:
        ClusterError: one is Stalled, or not Ready in time; the message is the condition's own.
    """
    with progress.step("kubectl wait --for=condition=Ready") as step:
        _until(cluster, names, lambda model: _is(model, "Ready"), _placing, step)
        resources = [f"edgemodel/{name}" for name in names]
        cluster.kubectl("wait", "--for=condition=Ready", "-n", NAMESPACE, "--timeout=30s", *resources)
        models = fetch(cluster, names)
        step.note = ", ".join(f"{model.metadata.name} on {_placing(model)} sites" for model in models)
    return models


def require_one_digest(cluster: Cluster, model: EdgeModel) -> None:
    """Check that status, each site's status, each Deployment and each running container have the same image.

    Raises:
        ClusterError: one of them has another; the message says which.
    """
    assert model.status.model is not None
    image = model.status.model.image
    name = model.metadata.name
    seen = {f"status.sites of {site.name}": site.image for site in model.status.sites}
    labels = ",".join(f"{key}={value}" for key, value in serving_selector(name).items())
    selector = ("-n", NAMESPACE, "-l", labels)
    deployments = cluster.kubectl.json("get", "deployments", *selector)["items"]
    pods = cluster.kubectl.json("get", "pods", *selector)["items"]
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        seen[f"Deployment {deployment['metadata']['name']}"] = container["image"]
    running = 0
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        for status in pod["status"].get("containerStatuses", ()):
            if "running" in status["state"]:
                running += 1
                seen[f"the container of pod {pod['metadata']['name']}"] = status["imageID"]
    if len(deployments) != len(model.status.sites) or running < len(model.status.sites):
        raise ClusterError(
            f"EdgeModel {name} has {len(model.status.sites)} sites, {len(deployments)} Deployments and {running}"
            " running containers; look with `kubectl get deployments,pods -n demo`."
        )
    digest = image.partition("@")[2]
    for where, other in seen.items():
        if str(other).rpartition("@")[2] != digest:
            raise ClusterError(f"EdgeModel {name} is {image} by its status, but {where} has {other}.")


def _until(
    cluster: Cluster,
    names: Sequence[str],
    done: Callable[[EdgeModel], bool],
    describe: Callable[[EdgeModel], str],
    step: Step,
) -> list[EdgeModel]:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        models = fetch(cluster, names)
        for model in models:
            stalled = condition(model, "Stalled")
            if stalled is not None and stalled.status == "True":
                raise ClusterError(f"EdgeModel {model.metadata.name} is stalled ({stalled.reason}): {stalled.message}")
        if all(done(model) for model in models):
            return models
        if time.monotonic() > deadline:
            states = "; ".join(f"{model.metadata.name}: {_why(model)}" for model in models if not done(model))
            raise ClusterError(f"Not ready after {READY_SECONDS / 60:.0f} minutes. {states}")
        step.update(" · ".join(f"{model.metadata.name} {describe(model)}" for model in models))
        time.sleep(_POLL_SECONDS)


def _is(model: EdgeModel, kind: str) -> bool:
    found = condition(model, kind)
    return found is not None and found.status == "True"


def _why(model: EdgeModel) -> str:
    ready = condition(model, "Ready")
    return "the operator has not looked at it yet" if ready is None else f"{ready.reason}: {ready.message}"


def _compressing(model: EdgeModel) -> str:
    compression = model.status.compression
    if compression is None or compression.progress is None:
        return "done" if _is(model, "Compressed") else "waiting"
    return f"{compression.progress.percent}% {compression.progress.step}"


def _placing(model: EdgeModel) -> str:
    ready = sum(site.state == "Ready" for site in model.status.sites)
    return f"{ready}/{len(model.status.sites)}"


def _result(model: EdgeModel) -> str:
    compression = model.status.compression
    return "" if compression is None or compression.chosen is None else compression.chosen.method
