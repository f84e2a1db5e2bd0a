"""Large requests spread over the site's replicas: a part for this one, and one for each peer that is free.

Peers help, and may fail: what one refuses, answers wrongly or not in time is computed here, and the client sees none of
it.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar

import numpy as np

from edgemodel_contract.serving import infer_path
from edgemodel_server.access.tls import PeerTls
from edgemodel_server.fanout.parts import PART, decode_part, encode_part
from edgemodel_server.fanout.peers import Peer, Peers
from edgemodel_server.observability.metrics import Metrics
from edgemodel_server.observability.tracing import trace_headers
from edgemodel_server.protocol.calls import BINARY, HEADER_LENGTH
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.protocol.open_inference import Signature
from edgemodel_server.scheduling.jobs import Result
from edgemodel_server.scheduling.scheduler import MARGIN, Scheduler
from edgemodel_server.scheduling.sharing import fault_of

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""A peer has this many times as long as this replica takes for its own part, or should take: they are of one size,"""
GRACE_SECONDS = 0.1
"""and so much more."""


class PeerError(Exception):
    """A peer did not compute its part; the message says why. ``is_fault``: by a fault of its own."""

    def __init__(self, sentence: str, *, is_fault: bool = True) -> None:
        """A peer at fault is left alone for a time."""
        super().__init__(sentence)
        self.is_fault = is_fault


@dataclass(frozen=True, slots=True)
class Question:
    """What one request wants. ``digest`` is the model's, ``deadline`` a time of ``time.perf_counter``, and ``key`` the
    client's, which the peers want to see, too: replicas mount the same Secret.
    """

    signature: Signature
    digest: str
    inputs: dict[str, Array]
    outputs: Sequence[str]
    deadline: float
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Share:
    """This replica's part of a request. ``work`` computes it since ``began``, in about ``expected`` seconds; for the
    others' parts nobody waits past ``latest``: they must be computed here by the request's deadline. Both are times of
    ``time.perf_counter``.
    """

    inputs: dict[str, Array]
    work: "asyncio.Future[Result]"
    began: float
    expected: float
    latest: float

    async def meanwhile(self, asked: "asyncio.Future[list[Array]]") -> None:
        """Wait until a peer has answered, or is so late that this replica is faster."""
        either: set[asyncio.Future[Any]] = {asked, self.work}
        await asyncio.wait(either, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            taken = time.perf_counter() - self.began
            patience = PATIENCE * max(taken, self.expected) + GRACE_SECONDS - taken
            await asyncio.wait({asked}, timeout=min(patience, self._left()))

    async def check(self, arrays: Sequence[Array], rows: int) -> None:
        """Raise PeerError unless ``arrays`` have ``rows`` rows and go together with what is computed here."""
        await asyncio.wait({self.work})
        for theirs, ours in zip(arrays, self.work.result().arrays, strict=True):
            shape = (rows, *ours.shape[1:])
            if theirs.dtype != ours.dtype or theirs.shape != shape:
                raise PeerError(f"it sent {theirs.dtype} of shape {theirs.shape} for {ours.dtype} of {shape}")

    def _left(self) -> float:
        return max(0.0, self.latest - time.perf_counter())


class Site:
    """This replica and its peers. All methods are for the event loop's thread."""

    def __init__(self, scheduler: Scheduler, peers: Peers, metrics: Metrics, tls: PeerTls | None, limit: int) -> None:
        """``tls`` None: peers speak plain text. ``limit``: bytes of an answer that are read."""
        self._scheduler = scheduler
        self._peers = peers
        self._metrics = metrics
        self._tls = tls
        self._limit = limit

    async def submit(self, question: Question) -> Result:
        """The model's answer, as ``Scheduler.submit`` gives it, with the help of the peers that are free.

        Raises:
            RequestError: as ``Scheduler.submit`` and its future do.
        """
        peers = await self._peers.free()
        slices = self._scheduler.shares(question.inputs, 1 + len(peers))
        if not slices:
            return await self._scheduler.submit(question.inputs, question.outputs, question.deadline)
        mine, *others = [{name: array[part] for name, array in question.inputs.items()} for part in slices]
        began = time.perf_counter()
        work = self._scheduler.submit(mine, question.outputs, question.deadline)
        own, total = slices[0].stop, slices[-1].stop
        latest = question.deadline - MARGIN * self._scheduler.expected(total - own)
        if latest <= began:
            # There is no time for that: the peers are the only hope.
            latest = question.deadline
        share = Share(mine, work, began, self._scheduler.expected(own), latest)
        parts = [
            asyncio.create_task(self._part(question, share, peer, inputs))
            for peer, inputs in zip(peers, others, strict=False)
        ]
        try:
            first, rest = await asyncio.gather(work, asyncio.gather(*parts))
        finally:
            work.cancel()
            for part in parts:
                part.cancel()
        self._metrics.part("local", "ok")
        pieces = [first.arrays, *rest]
        faults = [fault_of(arrays, part.stop - part.start) for arrays, part in zip(pieces, slices, strict=True)]
        if (fault := next(filter(None, faults), None)) is not None:
            self._scheduler.sharing.refute(fault)
            return await self._scheduler.submit(question.inputs, question.outputs, question.deadline, admitted=True)
        arrays = [np.concatenate(of_one) for of_one in zip(*pieces, strict=True)]
        return Result(arrays, first.waited, time.perf_counter() - began - first.waited)

    def close(self) -> None:
        """Close the connections to the peers."""
        self._peers.close()

    async def _part(self, question: Question, share: Share, peer: Peer, inputs: dict[str, Array]) -> list[Array]:
        """The outputs for ``inputs``: from ``peer``, or else from here."""
        asked = asyncio.create_task(self._ask(question, peer, inputs))
        try:
            await share.meanwhile(asked)
            if not asked.done():
                raise PeerError("it takes too long")
            arrays = asked.result()
            await share.check(arrays, len(next(iter(inputs.values()))))
        except PeerError as error:
            logger.warning("%s did not compute its part of a request: %s; it is computed here", peer, error)
            if error.is_fault:
                peer.rest(time.monotonic())
            result = await self._scheduler.submit(inputs, question.outputs, question.deadline, admitted=True)
            self._metrics.part("local", "retried")
            return result.arrays
        finally:
            asked.cancel()
        self._metrics.part("peer", "ok")
        return arrays

    async def _ask(self, question: Question, peer: Peer, inputs: dict[str, Array]) -> list[Array]:
        """What ``peer`` answers. Raises PeerError if that is no result."""
        signature, outputs = question.signature, question.outputs
        parts, header_length = await self._code(signature, encode_part, signature, inputs, outputs)
        headers = [
            (b"host", b"peer"),
            (b"content-type", BINARY),
            (HEADER_LENGTH, b"%d" % header_length),
            (b"x-request-timeout", b"%.6f" % max(question.deadline - time.perf_counter(), 1e-6)),
            (PART, question.digest.encode()),
            # As a password, which may be any bytes: where no key is needed, nobody has looked at this one yet.
            *([(b"authorization", b"Basic " + base64.b64encode(b":" + question.key))] if question.key else []),
            *trace_headers(),
        ]
        context = self._tls.context(time.monotonic()) if self._tls else None
        path = infer_path(signature.model)
        try:
            response = await peer.post(path, headers, parts, self._limit, context)
            if response.status != HTTPStatus.OK:
                # What the model refuses there it refuses here, too.
                is_fault = response.status != HTTPStatus.BAD_REQUEST
                raise PeerError(f"its status is {response.status}", is_fault=is_fault)
            length = int(response.headers.get(HEADER_LENGTH, b""))
            return await self._code(signature, decode_part, response.body, length, signature, outputs)
        except PeerError:
            raise
        except Exception as error:  # whatever a peer sends, the client sees none of it
            raise PeerError(f"{type(error).__name__}: {error}") from error

    async def _code(self, signature: Signature, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function``, which reads or writes a body. Strings take time; numbers are not even copied."""
        if any(spec.datatype == "BYTES" for spec in (*signature.inputs.values(), *signature.outputs.values())):
            return await self._scheduler.offload_json(function, *args, **kwargs)
        return function(*args, **kwargs)
