"""Every request of the REST API, from its arrival to its end: keys, routes, the form of errors, metrics, access log.

It does with ``Handling`` what ``grpc/handlers.py`` does for gRPC. A request comes in through ``App.__call__``, as ASGI
has it, or through ``App.try_inline``, if it is small, complete and quick: both do the same, the second without waiting.
"""

import logging

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from edgemodel_server.endpoints.handling import Handling
from edgemodel_server.endpoints.inference import infer_inline, infer_target
from edgemodel_server.endpoints.routes import Match, find_route
from edgemodel_server.http.routes import INFER_LABEL, rest_routes
from edgemodel_server.http.wire import CLOSE, Request
from edgemodel_server.protocol.calls import Answer, Call, error_answer, server_timing
from edgemodel_server.service import Service, State

logger = logging.getLogger(__name__)

HANDLING, MATCH = "edgemodel.handling", "edgemodel.match"
"""Keys of the ASGI scope: the request's ``Handling``, and the ``Match`` of its route."""
EXPOSED_HEADERS = ["inference-header-content-length", "server-timing", "retry-after"]
"""What scripts of other origins may read of an answer, beside what they always may."""


class App:
    """The ASGI application of a service."""

    def __init__(self, service: Service) -> None:
        """Bind the routes to ``service``."""
        self._service = service
        self._routes = rest_routes(service)
        self._cors: CORSMiddleware | None = None
        if service.settings.cors_origins:
            # No header is forbidden, for a browser sends none by itself that would say who its user is.
            self._cors = CORSMiddleware(
                self._respond,
                allow_origins=service.settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=EXPOSED_HEADERS,
            )

    def try_inline(self, request: Request, body: bytes | bytearray, address: str) -> Answer | None:
        """The answer to a whole request; None where ``__call__`` has to give it, because it may take a while."""
        service = self._service
        if request.method != b"POST" or not service.is_quick(len(body)) or infer_target(request.path) is None:
            return None
        # What is answered before another request is looked at holds nothing that others could want.
        call = Call(request.fields, request.path, service.budget.lease(address, address), request.query)
        if b"content-encoding" in call.headers or (self._cors is not None and b"origin" in call.headers):
            return None
        handling = Handling(service, "POST", request.path, address, INFER_LABEL, inline=True)
        try:
            handling.authenticate(call.headers)
            answer = infer_inline(service, call, body)
        except Exception as error:
            answer = error_answer(handling.refused(error))
        answer = self._complete(call, answer)
        handling.answered(sum(map(len, answer.parts)), answer.status)
        handling.close()
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        match = find_route(self._routes, scope["method"], scope["path"])
        address = (scope["client"] or ("", 0))[0]
        handling = Handling(self._service, scope["method"], scope["path"], address, match.endpoint)
        scope[MATCH], scope[HANDLING] = match, handling
        try:
            # A preflight is answered by the middleware for CORS, and logged here all the same.
            await (self._cors or self._respond)(scope, receive, _recorded(send, handling))
        except ClientDisconnect:
            handling.cancelled()
            logger.debug("a client left before it had its answer")
        finally:
            handling.close()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        match: Match = scope[MATCH]
        handling: Handling = scope[HANDLING]
        lease = handling.lease(scope["client"])
        call = Call.of(scope, receive, lease)
        call.parameters = match.parameters
        try:
            try:
                if not match.is_open:
                    handling.authenticate(call.headers)
                    call.lease = lease = handling.lease(scope["client"])
                answer = await match.handler(call)
                if not match.is_open and not answer.is_charged:
                    lease.hold(sum(map(len, answer.parts)))
            except ClientDisconnect:
                raise
            except Exception as error:
                answer = error_answer(handling.refused(error))
            await self._complete(call, answer).send(send)
        finally:
            lease.close()

    def _complete(self, call: Call, answer: Answer) -> Answer:
        if call.timings:
            answer.headers.append(server_timing(call.timings))
        if self._service.state is State.DRAINING:
            # So that the client's next request goes to another server.
            answer.headers.append(CLOSE)
        return answer


def _recorded(send: Send, handling: Handling) -> Send:
    """``send`` that tells ``handling`` of the answer when it is complete."""
    status = size = 0

    async def send_recorded(message: Message) -> None:
        nonlocal status, size
        await send(message)
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            handling.answered(size, status)

    return send_recorded
