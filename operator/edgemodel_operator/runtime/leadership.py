"""Takes turns with other operators: renews the Lease or waits for it, and says when the work begins and ends."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from edgemodel_operator.kube.client import ApiError
from edgemodel_operator.observed import Object
from edgemodel_operator.runtime import lease
from edgemodel_operator.runtime.lease import RETRY_SECONDS, Turn

log = logging.getLogger(__name__)

LEASE_NAME = "edgemodel-operator"


class Leases(Protocol):
    """What is needed of the API server."""

    async def read_lease(self, namespace: str, name: str) -> Object | None:
        """The Lease; None: there is none."""

    async def write_lease(self, obj: Object) -> Object:
        """Create it, or replace the version that it names; ApiError with status 409 if that is not the present one."""


def clock() -> float:
    """Seconds of a clock that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leadership:
    """One per process. ``begin`` and ``end`` are awaited in turns, and ``end`` before the Lease is given back."""

    def __init__(
        self,
        identity: str,
        namespace: str,
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self._turn = Turn(identity)
        self._namespace = namespace
        self._begin = begin
        self._end = end
        self._leading = False
        self._told = ""

    def seconds_left(self) -> float:
        """For how long this process may write; 0 where it may not. To be asked right before each write: a process that
        was stopped for a while wakes up in the middle of what it was doing.
        """
        return self._turn.seconds_left(clock())

    async def run(self, leases: Leases) -> None:
        """Until cancelled."""
        while True:
            try:
                settled = await self._take(leases)
                pause = self._turn.pause(clock()) if settled else RETRY_SECONDS
            except ApiError as error:
                log.warning("Lease %s/%s: %s", self._namespace, LEASE_NAME, error)
                pause = RETRY_SECONDS
            may = self.seconds_left() > 0
            if may and not self._leading:
                log.info("%s holds the Lease and works", self._turn.identity)
                self._leading = True
                await self._begin()
            elif self._leading and not may:
                log.warning("%s has lost the Lease and stops working", self._turn.identity)
                await self._stop_leading()
            await asyncio.sleep(pause)

    async def release(self, leases: Leases) -> None:
        """End the work and give the Lease back, if this process has it."""
        held = self.seconds_left() > 0
        await self._stop_leading()
        if held:
            with contextlib.suppress(ApiError):
                await leases.write_lease(lease.resignation(self._turn, self._namespace, LEASE_NAME, datetime.now(UTC)))
        self._turn = Turn(self._turn.identity)

    async def _take(self, leases: Leases) -> bool:
        """Look, unless the Lease is this process's; then renew it or take it where that is its due. Answers False where
        somebody else was quicker.
        """
        if self._turn.renewed is None:
            raw = await leases.read_lease(self._namespace, LEASE_NAME)
            self._turn = self._turn.saw(None if raw is None else lease.read(raw), clock())
        if self._turn.step(clock()) == "wait":
            self._tell_who_works()
            return True
        asked = clock()
        claim = lease.claim(self._turn, self._namespace, LEASE_NAME, datetime.now(UTC))
        try:
            answer = await leases.write_lease(claim)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            raw = await leases.read_lease(self._namespace, LEASE_NAME)
            self._turn = self._turn.saw(None if raw is None else lease.read(raw), clock())
            return False
        self._turn = self._turn.took(lease.read(answer), asked)
        self._told = ""
        return True

    def _tell_who_works(self) -> None:
        holder = self._turn.lease.holder if self._turn.lease is not None else ""
        if holder != self._told:
            log.info("%s holds the Lease; %s waits", holder, self._turn.identity)
            self._told = holder

    async def _stop_leading(self) -> None:
        if self._leading:
            self._leading = False
            await self._end()
