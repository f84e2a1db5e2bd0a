"""A cluster in miniature: it takes what plans ask for, adds a server's defaults, and does what the test says next.

Nothing here decides anything: the Deployment controller, the scheduler, the kubelets and the Job's process are
played by the tests, one method each.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any

import msgspec

from edgemodel_contract.progress import Progress
from edgemodel_contract.result import Failure, Success
from edgemodel_contract.task import Task
from edgemodel_operator.api import Condition, EdgeModel, SiteStatus
from edgemodel_operator.kube.kinds import CHILD_KINDS
from edgemodel_operator.kube.projection import child_from
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.observed import Object, Observed, Pod, Recommendation, Refusal, Replicas, SiteLatency, timestamp
from edgemodel_operator.plan.plan import Plan, plan
from edgemodel_operator.plan.policy.task import desired_task
from edgemodel_operator.settings import Settings
from tests.unit.operator.builders import (
    NOW,
    SETTINGS,
    ModelBuilder,
    PodBuilder,
    deployment_status,
    edge_model,
    finished,
    job_pod,
    node,
    server_pod,
    success,
    termination_message,
)

MAX_STEPS = 20


def equal(one: object, other: object) -> bool:
    """Whether two statuses, or parts of them, say the same to the API server."""
    return bool(msgspec.to_builtins(one) == msgspec.to_builtins(other))


class World:
    """One EdgeModel and its surroundings. ``now`` stands still until a test moves it."""

    def __init__(self, model: ModelBuilder | None = None, sites: tuple[str, ...] = ("site-a", "site-b")) -> None:
        self.builder = model or edge_model()
        self.settings: Settings = SETTINGS
        self.now = NOW
        self.nodes = [node("core", edge=False), *(node(f"node-of-{site}", site) for site in sites)]
        self.objects: dict[str, dict[str, Object]] = {kind: {} for kind in CHILD_KINDS}
        self.pods: dict[str, Pod] = {}
        self.progress: Progress | None = None
        self.latency: dict[str, SiteLatency] = {}
        self.recommendations: dict[str, tuple[Recommendation, ...]] = {}
        self.replicas: dict[str, Replicas] = {}
        self.refused_pods: dict[str, str] = {}
        self.refusals: dict[str, Refusal] = {}
        self.events: list[tuple[str, str]] = []
        """(Normal or Warning, reason), oldest first."""

    @property
    def model(self) -> EdgeModel:
        return self.builder.build()

    @property
    def task(self) -> Task:
        model = self.model
        assert model.spec is not None
        return desired_task(model, model.spec, self.settings)

    def edit(self, path: str, value: Any) -> World:
        """The user changes the spec."""
        self.builder = self.builder.set(path, value)
        return self

    # What the operator does.

    def observed(self) -> Observed:
        return Observed(
            nodes=tuple(self.nodes),
            children={
                kind: {name: child_from(kind, copy.deepcopy(obj)) for name, obj in objects.items()}
                for kind, objects in self.objects.items()
            },
            pods=tuple(self.pods.values()),
            progress=self.progress,
            latency=self.latency,
            recommendations=self.recommendations,
            replicas=self.replicas,
            refused_pods=self.refused_pods,
            refusals=self.refusals,
        )

    def plan(self) -> Plan:
        return plan(self.model, self.observed(), self.settings, self.now)

    def step(self) -> Plan:
        """Plan once and carry it out."""
        decided = self.plan()
        for obj in decided.apply:
            self._take(obj)
        for change in decided.scale:
            present = self.objects["Deployment"][change.name]
            if present["spec"]["replicas"] != change.replicas:
                present["spec"]["replicas"] = change.replicas
                present["metadata"]["generation"] += 1
        for ref in decided.delete:
            del self.objects[ref.kind][ref.name]
            self.pods = {n: pod for n, pod in self.pods.items() if pod.labels.get("job-name") != ref.name}
        self.recommendations = dict(decided.recommendations)
        self.replicas = dict(decided.replicas)
        self.builder = self.builder.status(decided.status)
        self.events += [
            ("Warning" if item.warning else "Normal", item.condition.reason) for item in decided.transitions
        ]
        return decided

    def settle(self) -> Plan:
        """Step until a plan changes nothing; that plan is the answer."""
        for _ in range(MAX_STEPS):
            decided = self.step()
            if nothing_to_do(decided):
                again = self.plan()
                if equal(again.status, decided.status):
                    assert not again.transitions
                    return again
        raise AssertionError(f"no rest after {MAX_STEPS} plans")

    # What the rest of the cluster does.

    def finish(self, result: Success | Failure, *, code: int | None = None, at: datetime | None = None) -> World:
        """The newest Job's process ends with ``result``."""
        name = self.job
        at = at or self.now
        code = code if code is not None else (0 if isinstance(result, Success) else 2)
        ended = job_pod(name, task=self.task.tag).exited(code, termination_message(result), at=at)
        self.pods[name] = ended.build()
        kind = "Complete" if isinstance(result, Success) else "Failed"
        self.objects["Job"][name] = finished(self.objects["Job"][name], kind, at=at)
        self.progress = None
        return self

    def job_pod(self, change: PodBuilder | None = None) -> PodBuilder:
        """The newest Job's pod, freshly created; put it back with ``put_pod``."""
        return change or job_pod(self.job, task=self.task.tag)

    def put_pod(self, pod: PodBuilder) -> World:
        built = pod.build()
        self.pods[built.labels.get("job-name", built.name)] = built
        return self

    def fail_job(self, reason: str = "BackoffLimitExceeded", at: datetime | None = None) -> World:
        self.objects["Job"][self.job] = finished(self.objects["Job"][self.job], "Failed", reason, at or self.now)
        return self

    def roll_out(self, *sites: str, at: datetime | None = None) -> World:
        """The Deployment controller and the kubelets finish what the Deployments of ``sites`` ask for."""
        for site in sites or self.deployed:
            present = self.deployment(site)
            present["status"] = deployment_status(
                wanted=present["spec"]["replicas"], generation=present["metadata"]["generation"], at=at or self.now
            )
            self.pods.pop(f"digits-{site}-pod", None)
        return self

    def stand_still(self, site: str, pod: PodBuilder | None = None, reason: str = "ReplicaSetUpdated") -> World:
        """The Deployment's new pod exists and does not become ready; what was ready before still is."""
        present = self.deployment(site)
        before = present.get("status", {}).get("availableReplicas", 0)
        present["status"] = deployment_status(
            wanted=present["spec"]["replicas"],
            generation=present["metadata"]["generation"],
            updated=1,
            available=before,
            total=before + 1,
            reason=reason,
            at=self.now,
        )
        return self.put_pod(pod) if pod is not None else self

    def refuse_pods(self, site: str, words: str) -> World:
        """A quota or a policy is in the way of the pods that the site's Deployment still wants."""
        self.stand_still(site)
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
        self.deployment(site)["status"]["conditions"].append(failure)
        return self

    def cut(self, site: str) -> World:
        self.nodes = [node(f"node-of-{site}", site, ready=False) if n.name.endswith(site) else n for n in self.nodes]
        return self

    def restore(self, site: str) -> World:
        self.nodes = [node(f"node-of-{site}", site) if n.name.endswith(site) else n for n in self.nodes]
        return self

    def remove_nodes(self, *sites: str) -> World:
        self.nodes = [n for n in self.nodes if not any(n.name == f"node-of-{site}" for site in sites)]
        return self

    def wait(self, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    def serve(self, version: int = 1) -> World:
        """From apply to every site serving ``version``."""
        self.settle()
        self.finish(success(self.task.digest, version))
        for _ in range(MAX_STEPS):
            decided = self.settle()
            if self.condition("Ready").status == "True":
                return self
            self.roll_out()
            if decided.requeue_after is not None:
                self.now += decided.requeue_after
        raise AssertionError("the rollout does not end")

    # What a test looks at.

    @property
    def job(self) -> str:
        """Name of the Job with the highest attempt at the present task."""
        mine = [job for job in self.observed().jobs.values() if job.task == self.task.tag]
        return sorted(mine, key=lambda job: job.attempt)[-1].name

    @property
    def deployed(self) -> list[str]:
        sites = [site.name for site in self.model.status.sites]
        return [site for site in sites if deployment_name(self.model, site) in self.objects["Deployment"]]

    def deployment(self, site: str) -> Object:
        return self.objects["Deployment"][deployment_name(self.model, site)]

    def images(self) -> dict[str, str]:
        """Image by site, as the Deployments ask for it."""
        return {site: _container(self.deployment(site))["image"] for site in self.deployed}

    def condition(self, kind: str) -> Condition:
        return next(item for item in self.model.status.conditions if item.type == kind)

    def site(self, name: str) -> SiteStatus:
        return next(item for item in self.model.status.sites if item.name == name)

    def server_pod(self, site: str) -> PodBuilder:
        return server_pod(site)

    def _take(self, obj: Object) -> None:
        """Server-side apply of one manager, and a server's defaults."""
        meta = obj["metadata"]
        kept = self.objects[obj["kind"]].get(meta["name"])
        new = with_defaults(obj)
        generation = 1
        if kept is not None:
            if new["kind"] == "Deployment" and "replicas" not in obj["spec"]:
                new["spec"]["replicas"] = kept["spec"]["replicas"]
            generation = kept["metadata"]["generation"] + (kept.get("spec") != new.get("spec"))
            if "status" in kept:
                new["status"] = kept["status"]
        new["metadata"]["generation"] = generation
        self.objects[obj["kind"]][meta["name"]] = new


def nothing_to_do(decided: Plan) -> bool:
    """Whether a plan leaves the cluster as it is."""
    return not (decided.apply or decided.scale or decided.delete)


def _container(deployment: Object) -> dict[str, Any]:
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def with_defaults(obj: Object) -> Object:
    """``obj`` as a server gives it back: fields added, empty values left out, quantities in another notation."""
    new: Object = copy.deepcopy(obj)
    new["metadata"] |= {
        "uid": f"uid-of-{new['metadata']['name']}",
        "resourceVersion": "1",
        "creationTimestamp": timestamp(NOW),
    }
    if new["kind"] == "Service":
        new["spec"] = {"clusterIP": "10.96.0.1", "sessionAffinity": "None"} | new["spec"]
    if new["kind"] in ("Deployment", "Job"):
        template = new["spec"]["template"]
        template["metadata"]["creationTimestamp"] = None
        template["spec"] = {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"} | template["spec"]
        for volume in template["spec"].get("volumes", []):
            for source in ("configMap", "secret"):
                if source in volume:
                    volume[source]["defaultMode"] = 420
        for container in template["spec"]["containers"]:
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container["env"] = [{k: v for k, v in item.items() if v != ""} for item in container["env"]]
            for amounts in container.get("resources", {}).values():
                if amounts.get("cpu") == "1":
                    amounts["cpu"] = "1000m"
            for mount in container.get("volumeMounts", []):
                if mount.get("readOnly") is False:
                    del mount["readOnly"]
        if new["kind"] == "Deployment":
            template["spec"]["restartPolicy"] = "Always"
        else:
            new["spec"] |= {"completions": 1, "parallelism": 1}
            template["metadata"]["labels"] |= {"controller-uid": "…", "job-name": new["metadata"]["name"]}
    return new
