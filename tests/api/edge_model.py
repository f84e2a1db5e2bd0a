"""One EdgeModel in a test: what its user does, what surrounds it, and what becomes of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from edgemodel_contract.encoding import decode
from edgemodel_contract.result import FailureReason
from edgemodel_contract.task import TASK_FILE, Task
from edgemodel_operator.kube.kinds import CHILD_KINDS
from edgemodel_operator.manifests.names import label_value
from tests.api import outcomes, pod_statuses
from tests.api.client import Api, Object
from tests.api.waiting import DEADLINE_SECONDS, eventually

T = TypeVar("T")

SERVER, COMPRESSOR = "server", "compress"
MODEL_LABEL, SITE_LABEL, TASK_LABEL = "edge5g.io/model", "edge5g.io/site", "edge5g.io/task"


class Model:
    """A handle by namespace and name; every look is a fresh one."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self.patience = DEADLINE_SECONDS
        """How long any single step may take."""

    def _eventually(self, what: str, probe: Callable[[], T | None]) -> T:
        return eventually(what, probe, seconds=self.patience, explain=self.explain)

    # What its user does and sees.

    def read(self) -> Object:
        """The resource; AssertionError if it is gone."""
        raw = self._api.get("EdgeModel", self.namespace, self.name)
        assert raw is not None, f"EdgeModel {self.namespace}/{self.name} is gone"
        return raw

    def edit(self, spec: Object) -> None:
        """Merge ``spec`` into the spec."""
        self._api.merge("EdgeModel", self.namespace, self.name, {"spec": spec})

    def nudge(self, value: str) -> None:
        """Change what does not matter, so that the operator looks again."""
        self._api.merge("EdgeModel", self.namespace, self.name, {"metadata": {"labels": {"nudge": value}}})

    def delete(self) -> None:
        """Delete it, and do not wait for its children."""
        self._api.delete("EdgeModel", self.namespace, self.name)

    @property
    def status(self) -> Object:
        """Empty before the operator's first word."""
        status: Object = self.read().get("status") or {}
        return status

    def condition(self, kind: str) -> Object:
        """One condition; empty while it does not exist."""
        found: list[Object] = [item for item in self.status.get("conditions", []) if item["type"] == kind]
        return found[0] if found else {}

    def site(self, name: str) -> Object:
        """The status of one site; empty while it does not exist."""
        found: list[Object] = [item for item in self.status.get("sites", []) if item["name"] == name]
        return found[0] if found else {}

    def wait_for(self, kind: str, status: str, reason: str | None = None) -> Object:
        """Wait for a condition that speaks about the present generation."""

        def holds() -> Object | None:
            raw = self.read()
            for item in raw.get("status", {}).get("conditions", []):
                if (
                    item["type"] == kind
                    and item["status"] == status
                    and reason in (None, item["reason"])
                    and item["observedGeneration"] == raw["metadata"]["generation"]
                ):
                    found: Object = item
                    return found
            return None

        wanted = f"{self.name}: {kind}={status}" + (f", {reason}" if reason else "")
        return self._eventually(wanted, holds)

    def wait_for_site(self, name: str, state: str, reason: str | None = None) -> Object:
        """Wait for the state of one site."""

        def holds() -> Object | None:
            site = self.site(name)
            return site if site.get("state") == state and reason in (None, site.get("reason")) else None

        return self._eventually(f"site {name} to be {state} {reason or ''}", holds)

    def events(self) -> list[Object]:
        """Its events, oldest first."""
        uid = self.read()["metadata"]["uid"]
        mine = [item for item in self._api.list("Event", self.namespace) if item["involvedObject"].get("uid") == uid]
        return sorted(mine, key=lambda item: int(item["metadata"]["resourceVersion"]))

    def explain(self) -> str:
        """Status, children and pods, for the message of a failed wait."""
        raw = self._api.get("EdgeModel", self.namespace, self.name) or {}
        pods = [
            {"name": pod["metadata"]["name"], "status": pod.get("status", {})}
            for pod in self._api.list("Pod", self.namespace)
        ]
        children = [f"{kind}/{item['metadata']['name']}" for kind in CHILD_KINDS for item in self.children(kind)]
        return json.dumps({"status": raw.get("status"), "children": children, "pods": pods}, indent=1)

    # What surrounds it.

    def children(self, kind: str) -> list[Object]:
        """Objects with its label."""
        return self._api.list(kind, self.namespace, f"{MODEL_LABEL}={label_value(self.name)}")

    def deployment(self, site: str) -> Object | None:
        """The Deployment of a site, or None."""
        return self._api.get("Deployment", self.namespace, f"{self.name}-{site}")

    def wait_for_deployment(self, site: str) -> Object:
        """Wait until the site has its Deployment."""
        return self._eventually(f"the Deployment of {site}", lambda: self.deployment(site))

    def wait_for_children(self, sites: int) -> None:
        """Wait until there are Deployments and Services for so many sites."""

        def counted() -> bool:
            return all(len(self.children(kind)) == sites for kind in ("Deployment", "Service"))

        self._eventually(f"children for {sites} sites", counted)

    def wait_until_collected(self) -> None:
        """Wait until it and all its children are gone."""

        def gone() -> bool:
            kinds = (*CHILD_KINDS, "Pod")
            return self._api.get("EdgeModel", self.namespace, self.name) is None and not any(map(self.children, kinds))

        # The garbage collector looks for new kinds, such as ours, every half minute.
        what = f"{self.name} and its children to be gone"
        eventually(what, gone, seconds=self.patience + 60, explain=self.explain)

    def image(self, site: str) -> str | None:
        """The image that the site's Deployment asks for, None without a Deployment."""
        deployment = self.deployment(site)
        return None if deployment is None else str(server_container(deployment)["image"])

    def wait_for_image(self, site: str, image: str) -> None:
        """Wait until the site's Deployment asks for ``image``."""
        self._eventually(f"{site} to ask for {image}", lambda: self.image(site) == image)

    def task(self, attempt: int = 1) -> tuple[Task, Object]:
        """Wait for an attempt at the present task's Job; answers the task, as the Job reads it, and the Job."""

        def present() -> tuple[Task, Object] | None:
            raw = self.read()
            generation = raw["metadata"]["generation"]
            if raw.get("status", {}).get("observedGeneration", generation) != generation:
                return None  # what is there is the Job of the spec before
            # Those of an EdgeModel of the same name, just deleted, may still be there.
            mine = [item for item in self.children("ConfigMap") if _is_controlled(item, raw)]
            maps = {item["metadata"]["labels"][TASK_LABEL]: item for item in mine}
            for job in (item for item in self.children("Job") if _is_controlled(item, raw)):
                labels = job["metadata"]["labels"]
                if labels["edge5g.io/attempt"] == str(attempt) and len(maps) == 1 and labels[TASK_LABEL] in maps:
                    return decode(maps[labels[TASK_LABEL]]["data"][TASK_FILE], Task), job
            return None

        return self._eventually(f"attempt {attempt} of the compression Job", present)

    def job_pod(self, attempt: int = 1) -> Object:
        """Wait for the pod that the Job controller makes."""
        _, job = self.task(attempt)
        name = job["metadata"]["name"]

        def pod() -> Object | None:
            pods = self._api.list("Pod", self.namespace, f"job-name={name}")
            return next((pod for pod in pods if _is_controlled(pod, job)), None)

        return self._eventually(f"a pod of Job {name}", pod)

    def server_pods(self, site: str) -> list[Object]:
        """The site's inference pods that are not being deleted."""
        pods = self._api.list("Pod", self.namespace, f"{MODEL_LABEL}={label_value(self.name)},{SITE_LABEL}={site}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def wait_for_pods(self, site: str, count: int) -> None:
        """Wait until the site has so many inference pods."""
        self._eventually(f"{count} pods in {site}", lambda: len(self.server_pods(site)) == count)

    # What kubelets and the scheduler do about it.

    def finish_job(self, image_digest: str = "c" * 64, attempt: int = 1) -> str:
        """The Job pushes a model image; answers its reference."""
        task, _ = self.task(attempt)
        self.patch_pod(
            self.job_pod(attempt),
            pod_statuses.succeeded(COMPRESSOR, outcomes.success(task.digest, task.repository, image_digest)),
        )
        return f"{task.repository}@sha256:{image_digest}"

    def fail_job(self, reason: FailureReason, message: str, attempt: int = 1) -> None:
        """The Job ends with a Failure of its own."""
        task, _ = self.task(attempt)
        message = outcomes.failure(task.digest, reason, message)
        self.patch_pod(self.job_pod(attempt), pod_statuses.failed(COMPRESSOR, 2, message=message))

    def patch_pod(self, pod: Object, status: Object) -> None:
        """Write a pod's status."""
        self._api.merge("Pod", self.namespace, pod["metadata"]["name"], status, "status")

    def tell(self, pod: Object, reason: str, message: str) -> None:
        """An event about a pod, as its kubelet writes it."""
        meta, now = pod["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": meta["name"]}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": self.namespace},
            "involvedObject": about | {"uid": meta["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet"},
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        self._api.create(event)

    def wait_for_server_pod(self, site: str) -> Object:
        """Wait for a pod that runs what the site's Deployment asks for now and is not ready."""

        def pod() -> Object | None:
            image = self.image(site)
            fresh = [
                pod
                for pod in self.server_pods(site)
                if pod["spec"]["containers"][0]["image"] == image and not _is_ready(pod)
            ]
            return fresh[0] if fresh else None

        return self._eventually(f"a new pod in {site}", pod)

    def serve(self, site: str, image: str | None = None) -> None:
        """Wait for the site's new pod, of ``image`` if named, and let its servers become ready."""
        if image is not None:
            self.wait_for_image(site, image)
        self.wait_for_server_pod(site)
        self.make_ready(site)

    def make_ready(self, site: str, ip: str | None = None) -> None:
        """Every pod of the site that is there becomes ready."""
        for pod in self.server_pods(site):
            if not _is_ready(pod):
                self.patch_pod(pod, pod_statuses.ready(SERVER, ip))

    def bring_to_ready(self, *sites: str, image_digest: str = "c" * 64) -> str:
        """The whole path for ``sites``; answers the image."""
        image = self.finish_job(image_digest)
        for site in sites:
            self.serve(site, image)
        self.wait_for("Ready", "True")
        return image


def server_container(deployment: Object) -> dict[str, Any]:
    """The inference server's container in a Deployment."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(item for item in containers if item["name"] == SERVER)


def _is_controlled(obj: Object, by: Object) -> bool:
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == by["metadata"]["uid"] for owner in owners)


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
