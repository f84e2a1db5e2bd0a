"""The Kubernetes API, as far as the operator needs it. The only file that imports its client.

Objects go in and out as JSON data. Writes are server-side apply under one field manager.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import getproxies

import aiohttp
import msgspec
from kubernetes.aio import client, config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from edgemodel_operator.api import API_VERSION, KIND, EdgeModel, Status
from edgemodel_operator.api.labels import MANAGED_BY_LABEL, MANAGER
from edgemodel_operator.kube.kinds import KINDS, LEASE, Kind
from edgemodel_operator.kube.projection import event_from
from edgemodel_operator.manifests.event import repetition
from edgemodel_operator.observed import Event, Object

TIMEOUT_SECONDS = 30
LEASE_TIMEOUT_SECONDS = 3
HINT_TIMEOUT_SECONDS = 5
"""For what only explains: a log waits for a kubelet, which may be out of reach, and a reconcile waits for the log."""
CONFLICT_ATTEMPTS = 5
LOG_LINES = 20
LOG_BYTES = 16384
PAGE = 500

SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Observe = Callable[[str, int, float], None]
"""(verb, HTTP status or 0, seconds) of every call."""

Permit = Callable[[], float]
"""For how many seconds this process may write; asked before each write."""


class ApiError(Exception):
    """The API server refused, or could not be reached (``status`` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Cluster:
    """A connection to one API server."""

    def __init__(self, api: client.ApiClient, observe: Observe, permit: Permit) -> None:
        self._api = api
        self._client = DynamicClient(api)  # type: ignore[no-untyped-call]
        self._observe = observe
        self._permit = permit
        self._older: dict[str, str] = {}
        """Version by kind, where the API server does not have the kind's own yet."""

    @classmethod
    async def connect(cls, observe: Observe, permit: Permit) -> "Cluster":
        """As the pod's ServiceAccount inside a cluster, else by kubeconfig (``KUBECONFIG`` or the default file)."""
        configuration = client.Configuration()
        if in_cluster():
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]
        configuration.connection_pool_maxsize = 64
        # Else every request looks for proxies and for a .netrc, in a thread of its own.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
        return cls(client.ApiClient(configuration=configuration), observe, permit)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def list_all(self, kind: str, namespace: str | None = None) -> tuple[list[Object], int]:
        """All objects of ``kind`` that concern the operator, and the version of the list."""
        await self._find_version(KINDS[kind])
        selector = SELECTOR if KINDS[kind].is_selected else None
        items: list[Object] = []
        following: str | None = None
        while True:
            page = await self._json(
                "get", self._path(kind, namespace), label_selector=selector, limit=PAGE, _continue=following
            )
            # The items of a list lack what every other answer has.
            items += ({"apiVersion": page["apiVersion"], "kind": kind, **item} for item in page.get("items") or [])
            following = page["metadata"].get("continue")
            if not following:
                version = page["metadata"].get("resourceVersion", "0")
                return items, int(version) if version.isdigit() else 0

    async def is_alive(self, model: EdgeModel) -> bool:
        """Whether the API server has this very EdgeModel now and does not delete it."""
        try:
            raw = await self._json("get", self._path(KIND, *model.key))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return bool(raw["metadata"]["uid"] == model.metadata.uid) and "deletionTimestamp" not in raw["metadata"]

    async def apply(self, obj: Object, *, force: bool) -> Object:
        """Server-side apply. Without ``force`` a field that another manager holds is an ApiError with status 409."""
        meta = obj["metadata"]
        path = self._path(obj["kind"], meta["namespace"], meta["name"])
        return _as_written(await self._apply(path, self._as_served(obj), force))

    async def overwrite(self, obj: Object) -> Object:
        """Merge patch (RFC 7386): lists become exactly those of ``obj``, where apply leaves entries of others alone."""
        meta = obj["metadata"]
        answer = await self._json(
            "patch",
            self._path(obj["kind"], meta["namespace"], meta["name"]),
            body=self._as_served(obj),
            content_type="application/merge-patch+json",
            field_manager=MANAGER,
        )
        return _as_written(answer)

    async def apply_status(self, model: EdgeModel, status: Status) -> Object:
        """Server-side apply of the status subresource."""
        namespace, name = model.key
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace, "uid": model.metadata.uid},
            "status": msgspec.to_builtins(status),
        }
        return await self._apply(f"{self._path(KIND, namespace, name)}/status", body, force=True)

    async def scale(self, namespace: str, deployment: str, replicas: int) -> Object:
        """Change nothing of a Deployment but its replicas; answers the Deployment."""
        return await self._json(
            "patch",
            self._path("Deployment", namespace, deployment),
            body={"spec": {"replicas": replicas}},
            content_type="application/merge-patch+json",
            field_manager=MANAGER,
        )

    async def give_up_replicas(self, namespace: str, deployment: str) -> None:
        """Have a manager of its own own the replicas, as they are: what no manager applies any more goes back to its
        default.
        """
        path = self._path("Deployment", namespace, deployment)
        for _ in range(CONFLICT_ATTEMPTS):
            present = await self._json("get", path)
            version = present["metadata"]["resourceVersion"]
            body = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": deployment, "namespace": namespace, "resourceVersion": version},
                "spec": {"replicas": present["spec"]["replicas"]},
            }
            try:
                await self._apply(path, body, force=True, manager=f"{MANAGER}-replicas")
            except ApiError as error:
                if error.status != 409:
                    raise
            else:
                return
        raise ApiError(0, f"Deployment {namespace}/{deployment} changes all the time; its replicas are given up later")

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what it owns. One that is gone already is fine."""
        try:
            await self._json("delete", self._path(kind, namespace, name), body={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def pod_log(self, namespace: str, pod: str, container: str) -> str:
        """The last lines of a container's log; empty while it has none or its node does not answer."""
        try:
            data = await self._request(
                "get",
                f"{self._path('Pod', namespace, pod)}/log",
                HINT_TIMEOUT_SECONDS,
                query_params=_log_window(container),
            )
        except ApiError:
            return ""
        return data.decode(errors="replace")

    async def events_about(self, namespace: str, uid: str) -> list[Event]:
        """The latest events about one object, oldest first; none while the API server does not answer."""
        try:
            page = await self._json(
                "get", self._path("Event", namespace), field_selector=f"regarding.uid={uid}", limit=PAGE
            )
        except ApiError:
            return []
        return sorted(map(event_from, page.get("items") or []), key=lambda event: event.at)

    async def record_event(self, event: Object, now: datetime) -> None:
        """Write an Event, or count it once more where it was written before."""
        meta = event["metadata"]
        try:
            await self._json("post", self._path("Event", meta["namespace"]), body=event)
        except ApiError as error:
            if error.status != 409:
                raise
            path = self._path("Event", meta["namespace"], meta["name"])
            body = repetition(await self._json("get", path), now)
            await self._json("patch", path, body=body, content_type="application/merge-patch+json")

    async def read_lease(self, namespace: str, name: str) -> Object | None:
        """The Lease; None: there is none."""
        try:
            return await self._json("get", self._path(LEASE.name, namespace, name), timeout=LEASE_TIMEOUT_SECONDS)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def write_lease(self, obj: Object) -> Object:
        """Create the Lease, or replace the version that ``obj`` names; ApiError with status 409 if that is not the
        present one. The only write that needs no Lease.
        """
        meta = obj["metadata"]
        known = "resourceVersion" in meta
        path = self._path(LEASE.name, meta["namespace"], meta["name"] if known else None)
        data = await self._send("put" if known else "post", path, LEASE_TIMEOUT_SECONDS, body=obj)
        answer: Object = msgspec.json.decode(data)
        return answer

    async def _find_version(self, kind: Kind) -> None:
        """Ask for every list anew: the cluster may have been upgraded."""
        if kind.older_version is None:
            return
        group = await self._json("get", f"/apis/{kind.group}")
        if kind.version in {item["version"] for item in group["versions"]}:
            self._older.pop(kind.name, None)
        else:
            self._older[kind.name] = kind.older_version

    def _as_served(self, obj: Object) -> Object:
        """``obj`` in the version that the API server has."""
        kind = KINDS[obj["kind"]]
        older = self._older.get(kind.name)
        return obj if older is None else obj | {"apiVersion": f"{kind.group}/{older}"}

    def _path(self, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        known = KINDS[kind]
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        root = known.root(self._older.get(kind))
        return f"{root}{place}/{known.plural}" + (f"/{quote(name, safe='')}" if name else "")

    async def _apply(self, path: str, body: Object, force: bool, manager: str = MANAGER) -> Object:
        return await self._json(
            "patch",
            path,
            body=body,
            content_type="application/apply-patch+yaml",
            field_manager=manager,
            force_conflicts=str(force).lower(),
        )

    async def _json(self, verb: str, path: str, **parameters: Any) -> Object:
        obj: Object = msgspec.json.decode(await self._request(verb, path, **parameters))
        return obj

    async def _request(self, verb: str, path: str, timeout: float = TIMEOUT_SECONDS, **parameters: Any) -> bytes:
        if verb != "get":
            timeout = min(timeout, self._permit())
            if timeout <= 0:
                raise ApiError(0, "another operator may have the Lease by now; nothing is written")
        return await self._send(verb, path, timeout, **parameters)

    async def _send(self, verb: str, path: str, timeout: float, **parameters: Any) -> bytes:
        # Passed explicitly: the client's own defaults are shared between calls, and so would be what they hold.
        parameters.setdefault("query_params", [])
        started, status = time.monotonic(), 0
        try:
            response = await self._client.request(
                verb, path, serialize=False, header_params={}, _request_timeout=timeout, **parameters
            )
            status = response.status
            data: bytes = await response.read()
        except DynamicApiError as error:
            status = error.status
            raise ApiError(error.status, _message(error.body) or str(error.reason)) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(0, f"the API server does not answer: {error or type(error).__name__}") from error
        finally:
            self._observe(verb, status, time.monotonic() - started)
        return data


def in_cluster() -> bool:
    """Whether this process runs in a pod with a ServiceAccount."""
    return (ACCOUNT / "token").exists()


def own_namespace() -> str:
    """Where this process runs; outside of a cluster, where its manifests would put it."""
    return (ACCOUNT / "namespace").read_text().strip() if in_cluster() else "edgemodel-system"


def identity() -> str:
    """A name that no other running operator has. The containers of one pod come one after the other, so that one that
    was restarted goes on with the Lease of the one before.
    """
    return socket.gethostname() if in_cluster() else f"{socket.gethostname()}_{os.getpid()}"


def _log_window(container: str) -> list[tuple[str, str]]:
    return [("container", container), ("tailLines", str(LOG_LINES)), ("limitBytes", str(LOG_BYTES))]


def _message(body: Any) -> str:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, TypeError):
        return ""
    return str(answer.get("message", "")) if isinstance(answer, Mapping) else ""


def _as_written(answer: Object) -> Object:
    """``answer`` in the version that the operator writes its kind in, whichever the API server has: to be compared."""
    return answer | {"apiVersion": KINDS[answer["kind"]].api_version}
