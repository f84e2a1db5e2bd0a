"""Plays all that runs between the operator and its EdgeModels' being Ready: Job controller, Deployment controller,
kubelets and compression Jobs, at once and without fail. It answers each change with as few writes as it can.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from edgemodel_contract.encoding import decode
from edgemodel_contract.task import TASK_FILE, Task
from edgemodel_operator.observed import timestamp
from tests.api import outcomes, pod_statuses
from tools.localcluster.native.control_plane import ControlPlane

Object = dict[str, Any]

NAMESPACE = "bench"
PARALLEL = 32
LONGEST_LINE = 1 << 20

MODELS = f"/apis/edge5g.io/v1alpha1/namespaces/{NAMESPACE}/edgemodels"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


class Simulator:
    """An asynchronous context manager; plays from its beginning to its end."""

    def __init__(self, plane: ControlPlane) -> None:
        self.ready: dict[str, float] = {}
        """EdgeModel → moment (``time.monotonic``) at which it was seen Ready; absent while it is not."""
        self.seen: dict[tuple[str, str], float] = {}
        """(EdgeModel, value of the last variable of its servers) → moment at which a Deployment first had it."""
        self.failure: BaseException | None = None
        """What went wrong in the background, if anything did."""
        self._plane = plane
        self._answered: set[tuple[str, int]] = set()
        """(uid, generation) of the objects that were played already."""
        self._places = asyncio.Semaphore(PARALLEL)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        pair = self._plane.authority.issue("bench", "edgemodel-bench", "system:masters")
        context = ssl.create_default_context(cafile=str(self._plane.authority.cert))
        context.load_cert_chain(pair.cert, pair.key)
        self._session = aiohttp.ClientSession(
            self._plane.url,
            connector=aiohttp.TCPConnector(limit=PARALLEL + 8, ssl=context),
            read_bufsize=LONGEST_LINE,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        for path, react in ((MODELS, self._note), (JOBS, self._run_job), (DEPLOYMENTS, self._deploy)):
            self._spawn(self._follow(path, react))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def create_model(self, name: str) -> None:
        """Create an EdgeModel with nothing but a URI."""
        body = {
            "apiVersion": "edge5g.io/v1alpha1",
            "kind": "EdgeModel",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"model": {"uri": f"oci://registry.test/models/{name}:v1"}},
        }
        await self.request("POST", MODELS, body)

    async def change_model(self, name: str, value: str) -> None:
        """Give its servers a variable."""
        patch = {"spec": {"serving": {"env": [{"name": "VALUE", "value": value}]}}}
        await self.request("PATCH", f"{MODELS}/{name}", patch, "application/merge-patch+json")

    async def request(self, verb: str, path: str, body: Object, content: str = "application/json") -> Object:
        """One request. Raises aiohttp.ClientResponseError with the server's words if it is refused."""
        assert self._session is not None
        async with (
            self._places,
            self._session.request(
                verb, path, data=msgspec.json.encode(body) if body else None, headers={"Content-Type": content}
            ) as response,
        ):
            answer: Object = msgspec.json.decode(await response.read())
            if response.status >= 400:
                raise aiohttp.ClientResponseError(
                    response.request_info, (), status=response.status, message=str(answer.get("message"))
                )
            return answer

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()

    async def _follow(self, path: str, react: Callable[[Object], None]) -> None:
        """React to every object there is and to every change. The API server ends watches that do not keep up."""
        version = ""
        while True:
            async for event in self._watch(path, version):
                if event["type"] == "ERROR":
                    version = ""  # what came since has been forgotten: from the beginning
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                react(event["object"])

    async def _watch(self, path: str, version: str) -> AsyncIterator[Object]:
        assert self._session is not None
        parameters = {"watch": "1", "timeoutSeconds": "7200"}
        # Without a version a watch begins with all that is there.
        if version:
            parameters["resourceVersion"] = version
        async with self._session.get(path, params=parameters) as response:
            response.raise_for_status()
            async for line in response.content:
                yield msgspec.json.decode(line)

    def _note(self, model: Object) -> None:
        name = model["metadata"]["name"]
        conditions = {item["type"]: item for item in model.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {})
        if ready.get("status") == "True" and ready["observedGeneration"] == model["metadata"]["generation"]:
            self.ready.setdefault(name, time.monotonic())
        else:
            self.ready.pop(name, None)

    def _first_time(self, obj: Object) -> bool:
        key = obj["metadata"]["uid"], obj["metadata"].get("generation", 1)
        new = key not in self._answered
        self._answered.add(key)
        return new

    def _run_job(self, job: Object) -> None:
        if self._first_time(job):
            self._spawn(self._finish(job))

    async def _finish(self, job: Object) -> None:
        template, name = job["spec"]["template"], job["metadata"]["name"]
        volume = next(item for item in template["spec"]["volumes"] if item["name"] == "task")
        config = await self.request("GET", f"{CONFIG_MAPS}/{volume['configMap']['name']}", {})
        task = decode(config["data"][TASK_FILE], Task)
        labels = template["metadata"]["labels"] | {"job-name": name}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-pod", "labels": labels, "ownerReferences": [_owner(job)]},
            "spec": template["spec"],
        }
        created = await self.request("POST", PODS, pod)
        message = outcomes.success(task.digest, task.repository, task.digest)
        await self._write_status(PODS, created, pod_statuses.succeeded("compress", message)["status"])
        condition = {"type": "Complete", "status": "True", "lastTransitionTime": _now()}
        await self._write_status(JOBS, job, {"conditions": [condition], "succeeded": 1})

    def _deploy(self, deployment: Object) -> None:
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        self.seen.setdefault((deployment["metadata"]["labels"]["edge5g.io/model"], env[-1]["value"]), time.monotonic())
        if self._first_time(deployment):
            self._spawn(self._make_available(deployment))

    async def _make_available(self, deployment: Object) -> None:
        replicas, now = deployment["spec"]["replicas"], _now()
        times = {"lastUpdateTime": now, "lastTransitionTime": now}
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas),
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", **times},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", **times},
            ],
        }
        await self._write_status(DEPLOYMENTS, deployment, status)

    async def _write_status(self, path: str, obj: Object, status: Object) -> None:
        """As controllers do: the object as seen last, with another status, and not over what was written since."""
        try:
            await self.request("PUT", f"{path}/{obj['metadata']['name']}/status", obj | {"status": status})
        except aiohttp.ClientResponseError as error:
            if error.status != 409:
                raise
            fresh = await self.request("GET", f"{path}/{obj['metadata']['name']}", {})
            await self._write_status(path, fresh, status)


def _owner(job: Object) -> Object:
    meta = job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}


def _now() -> str:
    return timestamp(datetime.now(UTC))
