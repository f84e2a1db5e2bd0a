"""A route of the REST API: which requests it is for, and what answers them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from re import Pattern

from starlette.routing import compile_path

from edgemodel_server.errors import MethodNotAllowedError, NotFoundError, RequestError, shown
from edgemodel_server.protocol.calls import Answer, Call

Handler = Callable[[Call], Awaitable[Answer]]
"""Raises RequestError for no answer."""


@dataclass(frozen=True)
class Route:
    """Requests of ``method`` for ``path``, in which ``{name}`` stands for a parameter; GET is for HEAD, too.

    ``endpoint`` is its label in the metrics; None: it is not counted there. ``is_open``: it needs no key.
    """

    method: str
    path: str
    handler: Handler
    endpoint: str | None = None
    is_open: bool = False
    pattern: Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the pattern of the path."""
        object.__setattr__(self, "pattern", compile_path(self.path)[0])

    def takes(self, method: str) -> bool:
        """Whether it is for requests of that method."""
        return method == self.method or (method == "HEAD" and self.method == "GET")


@dataclass(frozen=True, slots=True)
class Match:
    """What answers a request: that of its route, or what says that there is none, which needs a key as any other."""

    handler: Handler
    parameters: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    is_open: bool = False


def find_route(routes: Sequence[Route], method: str, path: str) -> Match:
    """The match of a request. Its handler raises NotFoundError where no route has that path, and MethodNotAllowedError
    where only routes of other methods have it."""
    allowed: list[str] = []
    for route in routes:
        found = route.pattern.fullmatch(path)
        if found is None:
            continue
        if route.takes(method):
            return Match(route.handler, found.groupdict(), route.endpoint, route.is_open)
        allowed.append(route.method)
    if allowed:
        return Match(partial(_refuse, MethodNotAllowedError(f"{method} {shown(path)}: Method Not Allowed", allowed)))
    return Match(partial(_refuse, NotFoundError(f"{method} {shown(path)}: Not Found")))


async def _refuse(error: RequestError, _: Call) -> Answer:
    raise error
