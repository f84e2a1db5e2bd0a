"""The workers: take a key, observe it in the watch cache, plan, carry the plan out."""

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from edgemodel_contract.progress import Progress, last_progress
from edgemodel_operator.api import KIND, EdgeModel, parse
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.kube.cache import Key, Store
from edgemodel_operator.kube.client import ApiError, Cluster, identity, own_namespace
from edgemodel_operator.kube.kinds import CHILD_KINDS, WATCHED
from edgemodel_operator.kube.projection import child_from
from edgemodel_operator.manifests.event import build_event
from edgemodel_operator.manifests.owned import is_owned
from edgemodel_operator.observed import (
    COMPRESSION_CONTAINER,
    Job,
    Object,
    Observed,
    Pod,
    Recommendation,
    Replicas,
)
from edgemodel_operator.plan.plan import Plan, plan
from edgemodel_operator.plan.policy.admission import refused_job_pod
from edgemodel_operator.plan.policy.mounts import MOUNT_FAILED, PATIENCE, mount_failure, starts_slowly
from edgemodel_operator.plan.status.figures import is_news
from edgemodel_operator.runtime.applier import Applier
from edgemodel_operator.runtime.leadership import Leadership
from edgemodel_operator.runtime.metrics import Metrics
from edgemodel_operator.runtime.queue import WorkQueue
from edgemodel_operator.runtime.scraper import Latencies, Target
from edgemodel_operator.settings import Settings

log = logging.getLogger(__name__)

INSTANCE = socket.gethostname()
"""In Events: the pod that reported."""
REFUSED_RETRY_SECONDS = 60.0
"""What the API server refused is tried again after this time: quotas are raised, other owners leave."""
START_RETRY_SECONDS = 2.0
MAX_EXPLAINED = 5
"""Pods of one EdgeModel whose events are read at once."""
STATUS_HOLD_SECONDS = 1.0
"""How long a status that is no news waits for more: sites that come up one after the other are one write."""


def utc_now() -> datetime:
    """The clock of everything the operator decides."""
    return datetime.now(UTC)


class Controller:
    """One per process. ``start`` and ``stop`` from the same event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.applier = Applier(self.store, utc_now)
        self.queue: WorkQueue[Key] = WorkQueue()
        self.metrics = Metrics(lambda: len(self.queue) if self._workers else 0)
        self.leadership = Leadership(
            settings.identity or identity(), settings.namespace or own_namespace(), self._begin, self._end
        )
        self.latencies = Latencies(self._targets, settings.latency_window, utc_now)
        self._recommendations: dict[Key, Mapping[str, tuple[Recommendation, ...]]] = {}
        self._replicas: dict[Key, Mapping[str, Replicas]] = {}
        self._held: dict[Key, float] = {}
        """EdgeModel → since when (``time.monotonic``) a status that is no news waits to be written."""
        self._workers: list[asyncio.Task[None]] = []
        """While this process holds the Lease."""
        self._election: asyncio.Task[None] | None = None
        self._cluster: Cluster | None = None
        self._server: web.AppRunner | None = None

    @property
    def cluster(self) -> Cluster:
        """The connection; only after ``start``."""
        if self._cluster is None:
            raise RuntimeError("the controller is not started")
        return self._cluster

    async def start(self) -> None:
        """Fill the cache, so that no watch event meets half of the picture, then work whenever it is one's turn."""
        self._server = await self.metrics.serve(self.settings.metrics_port)
        self._cluster = await Cluster.connect(self.metrics.api_call, self.leadership.seconds_left)
        await self._fill_cache()
        self._election = asyncio.create_task(self.leadership.run(self._cluster), name="election")

    async def stop(self) -> None:
        """Let go of everything. A reconcile cut short here is made up for by the next process."""
        if self._election is not None:
            self._election.cancel()
            await asyncio.gather(self._election, return_exceptions=True)
        if self._cluster is not None:
            await self.leadership.release(self._cluster)
        await self.latencies.close()
        if self._cluster is not None:
            await self._cluster.close()
        if self._server is not None:
            await self._server.cleanup()

    async def _begin(self) -> None:
        """It is this process's turn: let the workers loose, once the cache knows what the one before has written."""
        for memory in (self._recommendations, self._replicas, self._held):
            memory.clear()
        self.applier.forget()
        self._workers = [asyncio.create_task(self._lead(), name="lead")]

    async def _lead(self) -> None:
        await self._fill_cache()
        self._workers += [
            *(asyncio.create_task(self._work(), name=f"worker-{n}") for n in range(self.settings.workers)),
            asyncio.create_task(self._resync_forever(), name="resync"),
            asyncio.create_task(self._scrape_forever(), name="scrape"),
        ]
        self.metrics.leads(True)

    async def _end(self) -> None:
        """It is another one's turn: leave off, and go on watching."""
        workers, self._workers = self._workers, []
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self.metrics.leads(False)

    def notice(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> None:
        """A watch event: update the cache, mark what it concerns dirty."""
        keys = self.store.remove(kind, raw) if event == "DELETED" else self.store.put(kind, raw)
        for key in keys:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> None:
        """Bring one EdgeModel a step closer to its spec.

        Raises:
            ApiError: the API server could not be reached or failed; the key is to be tried again.
        """
        raw = self.store.model(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            # Owner references make the garbage collector take the children along.
            for memory in (self._recommendations, self._replicas, self._held):
                memory.pop(key, None)
            self.applier.forget(key)
            return
        model = parse(raw)
        observed = await self._observe(model)
        decided = plan(model, observed, self.settings, utc_now())
        refusals = await self.applier.carry_out(self.cluster, model, decided)
        if refusals:
            again = plan(model, replace(observed, refusals=refusals), self.settings, utc_now())
            decided = replace(decided, status=again.status, transitions=again.transitions)
            self.queue.add_after(key, REFUSED_RETRY_SECONDS)
        self._recommendations[key] = decided.recommendations
        # What was refused is not what was asked for.
        self._replicas[key] = {} if refusals else decided.replicas
        await self._report(model, raw, decided)
        if decided.requeue_after is not None:
            self.queue.add_after(key, decided.requeue_after.total_seconds())

    async def _observe(self, model: EdgeModel) -> Observed:
        key = model.key
        children = {
            kind: {
                name: child_from(kind, obj)
                for name, obj in self.store.children(kind, key).items()
                if is_owned(obj, model)
            }
            for kind in CHILD_KINDS
        }
        observed = Observed(nodes=self.store.nodes(), children=children)
        pods = await self._explain(model, self.store.pods(key))
        return replace(
            observed,
            pods=pods,
            refused_pods=await self._refused_pods(model, observed.jobs, pods),
            progress=await self._progress(model, observed.jobs, pods),
            latency=self.latencies.of(key),
            recommendations=self._recommendations.get(key, {}),
            replicas=self._replicas.get(key, {}),
        )

    async def _explain(self, model: EdgeModel, pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
        """Pods that take long to start, with what their kubelet says about their volumes; a few of them, for what one
        lacks all lack.
        """
        explained = {pod.name: pod for pod in pods}
        for pod in [pod for pod in pods if starts_slowly(pod, utc_now())][:MAX_EXPLAINED]:
            failure = mount_failure(await self.cluster.events_about(model.metadata.namespace, pod.uid))
            if failure is not None:
                explained[pod.name] = replace(pod, waiting_reason=MOUNT_FAILED, waiting_message=failure)
        return tuple(explained.values())

    async def _refused_pods(self, model: EdgeModel, jobs: Mapping[str, Job], pods: tuple[Pod, ...]) -> dict[str, str]:
        """What keeps Jobs that have no pod from having one, by the Job's name; asked for once a Job is old enough."""
        owners = {pod.owner for pod in pods}
        refused = {}
        for name, job in jobs.items():
            if job.uid in owners or job.created_at is None or utc_now() - job.created_at < PATIENCE:
                continue
            words = refused_job_pod(await self.cluster.events_about(model.metadata.namespace, job.uid))
            if words is not None:
                refused[name] = words
        return refused

    async def _progress(self, model: EdgeModel, jobs: Mapping[str, Job], pods: tuple[Pod, ...]) -> Progress | None:
        owners = {job.uid for job in jobs.values()}
        for pod in pods:
            if pod.owner in owners and pod.phase == "Running" and not pod.deleting:
                return last_progress(
                    await self.cluster.pod_log(model.metadata.namespace, pod.name, COMPRESSION_CONTAINER)
                )
        return None

    async def _report(self, model: EdgeModel, raw: Object, decided: Plan) -> None:
        """One status write, if there is anything new; then the events, which only follow a truth that is written."""
        if raw.get("status") == msgspec.to_builtins(decided.status):
            self._held.pop(model.key, None)
            return
        if not is_news(model.status, decided.status):
            held = time.monotonic() - self._held.setdefault(model.key, time.monotonic())
            if held < STATUS_HOLD_SECONDS:
                self.queue.add_after(model.key, STATUS_HOLD_SECONDS - held)
                return
        self._held.pop(model.key, None)
        try:
            self.store.put(KIND, await self.cluster.apply_status(model, decided.status))
        except ApiError as error:
            if error.status == 404:
                return
            raise
        for transition in decided.transitions:
            condition = transition.condition
            log.info(
                "%s/%s: %s is %s, %s: %s",
                *model.key,
                condition.type,
                condition.status,
                condition.reason,
                condition.message,
            )
            now = utc_now()
            event = build_event(model, condition, warning=transition.warning, instance=INSTANCE, now=now)
            try:
                await self.cluster.record_event(event, now)
            except ApiError as error:
                log.warning("%s/%s: event %s not written: %s", *model.key, condition.reason, error)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            started, failed = time.monotonic(), True
            try:
                await self.reconcile(key)
                failed = False
                self.queue.forget(key)
            except ApiError as error:
                delay = self.queue.retry(key)
                log.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
            except Exception:
                delay = self.queue.retry(key)
                log.exception("%s/%s: reconcile failed; again in %.1f s", *key, delay)
            finally:
                self.queue.done(key)
                self.metrics.reconciled(time.monotonic() - started, failed, len(self.store.models()))

    async def _fill_cache(self) -> None:
        """The first lists, for as long as it takes: an API server that restarts is no reason to give up."""
        while True:
            try:
                return await self._resync()
            except ApiError as error:
                hint = " Is the CustomResourceDefinition installed (crds/)?" if error.status == 404 else ""
                log.warning("cannot read the cluster yet: %s%s", error, hint)
                await asyncio.sleep(START_RETRY_SECONDS)

    async def _resync(self) -> None:
        for kind in (kind.name for kind in WATCHED):
            namespaces: list[str] | list[None] = [None]
            if self.settings.namespaces and kind != "Node":
                namespaces = list(self.settings.namespaces)
            items: list[Object] = []
            oldest: int | None = None
            for namespace in namespaces:
                found, version = await self.cluster.list_all(kind, namespace)
                items += found
                oldest = version if oldest is None else min(oldest, version)
            self.store.replace(kind, items, oldest or 0)
        for key in self.store.models():
            self.queue.add(key)

    async def _resync_forever(self) -> None:
        """Lists now and then: a watch that broke off may have missed a deletion."""
        while True:
            await asyncio.sleep(self.settings.resync_interval * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                await self._resync()
            except ApiError as error:
                log.warning("resync: %s", error)

    async def _scrape_forever(self) -> None:
        while True:
            started = time.monotonic()
            with contextlib.suppress(asyncio.TimeoutError):
                for key in await self.latencies.scrape():
                    self.queue.add(key)
            await asyncio.sleep(max(0.0, self.settings.scrape_interval - (time.monotonic() - started)))

    def _targets(self) -> Iterator[Target]:
        for key in self.store.models():
            ready = [pod for pod in self.store.pods(key) if pod.ready and pod.ip and SITE_LABEL in pod.labels]
            if not ready:
                continue
            raw = self.store.model(key)
            spec = parse(raw).spec if raw else None
            if spec is None:
                continue
            target = spec.scaling.target
            percentile = target.percentile if target is not None else 95
            for pod in ready:
                yield Target(key, pod.labels[SITE_LABEL], pod.name, pod.ip or "", percentile)
