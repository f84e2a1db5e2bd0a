"""What is served and in which state."""

import asyncio
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgemodel_server.access.budget import BODIES, Budget, Limits
from edgemodel_server.access.keys import Keys, shown_key
from edgemodel_server.access.tls import PeerTls
from edgemodel_server.errors import NotFoundError, UnavailableError, shown
from edgemodel_server.fanout.parts import check_part
from edgemodel_server.fanout.peers import Lookup, Peers, lookup_of
from edgemodel_server.fanout.site import Question, Site
from edgemodel_server.images.classifier import Classifier, classifier
from edgemodel_server.model.bare import open_file
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.engine import Engine
from edgemodel_server.model.folder import open_folder
from edgemodel_server.model.independence import prove_independence
from edgemodel_server.model.warm_up import Profile, warm_up
from edgemodel_server.observability.metrics import Metrics
from edgemodel_server.protocol.bodies import BodyReader
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.protocol.open_inference import MODEL_VERSION, Signature
from edgemodel_server.scheduling.jobs import Result
from edgemodel_server.scheduling.scheduler import Scheduler
from edgemodel_server.scheduling.sharing import Batching
from edgemodel_server.settings import Settings

if TYPE_CHECKING:
    from edgemodel_server.observability.spans import Tracing


RESERVED_DESCRIPTORS = 128
"""Not for connections of HTTP: for gRPC, peers, keys and certificates, and whatever the libraries open."""
DECODING_SECONDS = 2.0
"""Of decoding bodies and images that may be ahead of a request."""


class State(Enum):
    """The life of the server. It serves requests in READY and in DRAINING."""

    STARTING = "the model is being loaded"
    READY = "ready"
    DRAINING = "the server is shutting down"


@dataclass(frozen=True)
class Model:
    """A loaded model. ``classifier`` is None where the model does not sort images into classes."""

    engine: Engine
    digest: str
    signature: Signature
    profile: Profile
    classifier: Classifier | None


def load_model(settings: Settings, parallelism: Parallelism) -> Model:
    """Verify, load and warm up the model of ``settings.model_dir``, a folder with a card or an ONNX file. Takes as long
    as the model needs: not for the event loop.

    Raises:
        ModelError: it cannot be served.
    """
    path = settings.model_dir
    folder = open_file(path) if path.is_file() else open_folder(path)
    proof = prove_independence(folder)
    engine = Engine(folder, parallelism)
    profile = warm_up(engine, proof, settings.max_batch_size)
    sorts = classifier(folder.card, profile.outputs)
    return Model(engine, folder.digest, Signature.of(folder.card), profile, sorts)


class Service:
    """The state that the routes share. Only the event loop's thread changes it."""

    def __init__(
        self,
        settings: Settings,
        parallelism: Parallelism,
        lookup: Lookup | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        """Starting, with no model yet. ``lookup`` finds the site's other replicas; None: as the settings say.
        Without ``tracing`` there are no traces."""
        self.settings = settings
        self.tracing = tracing
        self.state = State.STARTING
        self.metrics = Metrics()
        self.budget = Budget(_limits(settings, parallelism))
        batching = Batching(settings.max_batch_size, settings.max_batch_delay)
        self.scheduler = Scheduler(parallelism, settings.queue_limit, batching, self.metrics)
        self.bodies = BodyReader(settings.max_body, settings.body_timeout, self.scheduler.offload_json)
        self.keys = Keys(settings.auth_dir, settings.rate_limit)
        self._model: Model | None = None
        if lookup is None and settings.peers:
            lookup = lookup_of(settings.peers, settings.listen[1])
        self._site: Site | None = None
        if lookup:
            tls = PeerTls(settings.tls_dir) if settings.tls_dir else None
            self._site = Site(self.scheduler, Peers(lookup), self.metrics, tls, settings.max_body)

    def submit(
        self, inputs: dict[str, Array], outputs: Sequence[str], deadline: float, headers: Mapping[bytes, bytes]
    ) -> "asyncio.Future[Result]":
        """The model's answer, as ``Scheduler.submit`` gives it; a large request is shared with the site's other
        replicas, unless it is such a part itself. ``headers`` are the request's, with names in lower case.

        Raises:
            RequestError: as ``Scheduler.submit``; or the request is a part for another model.
        """
        model = self.model()
        is_part = check_part(headers, model.digest)
        if self._site is None or is_part or not self.scheduler.shares(inputs, 2):
            return self.scheduler.submit(inputs, outputs, deadline)
        question = Question(model.signature, model.digest, inputs, outputs, deadline, shown_key(headers))
        return asyncio.get_running_loop().create_task(self._site.submit(question))

    def is_quick(self, size: int) -> bool:
        """Whether a request with a body of ``size`` bytes is answered before another could be looked at."""
        return self._model is not None and self.scheduler.is_quick(size)

    def close(self) -> None:
        """Finish what was begun, and end threads and connections."""
        if self._site:
            self._site.close()
        self.scheduler.close()

    def serve(self, model: Model) -> None:
        """Become ready with ``model``."""
        self._model = model
        self.scheduler.serve(model.engine, model.profile)
        self.metrics.serving(model.engine.card, model.digest)
        self.metrics.ready.set(1)
        self.state = State.READY

    def drain(self) -> None:
        """Stop being ready; requests are served as before."""
        self.metrics.ready.set(0)
        self.state = State.DRAINING

    def model(self) -> Model:
        """The model. Raises UnavailableError while there is none."""
        if self._model is None:
            raise UnavailableError(f"not ready: {self.state.value}")
        return self._model

    def identity(self) -> tuple[str, str] | None:
        """Name and digest of the model; None while there is none."""
        return (self._model.engine.card.name, self._model.digest) if self._model else None

    def named_model(self, name: str, version: str) -> Model:
        """The model of that name and version. Raises NotFoundError for any other."""
        model = self.model()
        served = model.engine.card.name
        if name != served:
            raise NotFoundError(f"there is no model {shown(name)} here; this server has {shown(served)}")
        if version != MODEL_VERSION:
            raise NotFoundError(f"there is no version {shown(version)} of model {served!r}; it has {MODEL_VERSION!r}")
        return model


def _limits(settings: Settings, parallelism: Parallelism) -> Limits:
    return Limits(
        memory=max(settings.max_buffered, BODIES * settings.max_body),
        requests=parallelism.workers + settings.queue_limit,
        decoding=DECODING_SECONDS,
        connections=min(settings.max_connections, max(1, _descriptors() - RESERVED_DESCRIPTORS)),
    )


def _descriptors() -> int:
    """How many files and connections this process may have open; it may have as many as its hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize
