"""The watches, by kopf. The only file that knows kopf.

Nothing is decided here: a watch event updates the cache and marks a key in the work queue. kopf's own handlers per
change are edge-triggered, and its retries, finalizers and annotations are for operators that need them.
"""

import dataclasses
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any, cast

import kopf

from edgemodel_operator.kube.client import SELECTOR, in_cluster
from edgemodel_operator.kube.kinds import WATCHED, Kind
from edgemodel_operator.runtime.controller import Controller
from edgemodel_operator.settings import Settings


def registry(settings: Settings) -> kopf.OperatorRegistry:
    """All handlers of one operator process."""
    handlers = kopf.OperatorRegistry()
    controllers: list[Controller] = []

    @kopf.on.login(registry=handlers)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        account = kopf.login_with_service_account(**kwargs)
        if in_cluster() and account is not None:
            # By address, as client-go does: not every cluster, nor every hour, has a DNS.
            return dataclasses.replace(account, server=in_cluster_server(os.environ))
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=handlers)
    async def start(**_: Any) -> None:
        controller = Controller(settings)
        await controller.start()
        controllers.append(controller)

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        for controller in controllers:
            await controller.stop()

    for kind in WATCHED:
        _watch(handlers, controllers, kind)
    return handlers


def in_cluster_server(environment: Mapping[str, str]) -> str:
    """URL of the API server, from the variables that the kubelet sets in every container."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    bracketed = f"[{host}]" if ":" in host else host
    return f"https://{bracketed}:{environment['KUBERNETES_SERVICE_PORT']}"


def _watch(
    handlers: kopf.OperatorRegistry,
    controllers: list[Controller],
    kind: Kind,
) -> None:
    @kopf.on.event(*_selector(kind), registry=handlers, id=f"notice-{kind.plural}")
    async def notice(event: kopf.RawEvent, **_: Any) -> None:
        for controller in controllers:
            controller.notice(kind.name, event["type"], event["object"])


def _selector(kind: Kind) -> tuple[str, str] | tuple[str, str, str]:
    """Without a version kopf takes the one that the API server prefers."""
    return (kind.group, kind.plural) if kind.older_version else (kind.group, kind.version, kind.plural)


class _NothingKept(kopf.DiffBaseStorage):
    """For handlers that ask for changes kopf keeps a copy of every object and compares; there are none here, and the
    copies took a fifth of the operator's time. Where there is no copy, kopf does not look for its own marks in it.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, None)

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


def watch_settings() -> kopf.OperatorSettings:
    """kopf as a plain watcher: no events, no peering, no finalizers, no scanning for new resources."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NothingKept()
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 60
    for kind in WATCHED:
        if kind.is_selected:
            settings.watching.label_selectors[_selector(kind)] = SELECTOR
    return settings


def configure_logging(*, json: bool) -> None:
    """One line an event on standard error, as JSON or as text."""
    kopf.configure(log_format=kopf.LogFormat.JSON if json else kopf.LogFormat.FULL)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


def run(settings: Settings) -> None:
    """Run until a signal. Raises kopf's errors for what cannot be waited out, such as a missing CRD."""
    kopf.run(
        registry=registry(settings),
        settings=watch_settings(),
        standalone=True,
        # Only peering would use it; left to itself, kopf asks for the name of a user that the container lacks.
        identity=socket.gethostname(),  # type: ignore[arg-type]
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
