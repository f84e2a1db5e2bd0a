"""What can go wrong, as types: with the model at start, and with a request later."""

from collections.abc import Sequence
from reprlib import Repr

_SHOWN = 160
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


class ModelError(Exception):
    """The model folder cannot be served. The message is a sentence that says what, where and what to do next."""


class RequestError(Exception):
    """A request that gets no result. The message goes to the client; ``status`` is the HTTP status of its class.

    ``reason`` is the label under which it is counted as rejected; None where it is the request's own fault.
    """

    status = 500
    reason: str | None = None


class BadRequestError(RequestError):
    """The request is malformed or does not fit the model; the message names the field."""

    status = 400


class NotFoundError(RequestError):
    """No such model, version or function."""

    status = 404


class MethodNotAllowedError(RequestError):
    """The path is there, but not for this method of HTTP; ``allowed`` are those it has."""

    status = 405

    def __init__(self, sentence: str, allowed: Sequence[str]) -> None:
        """``allowed`` are told in the header Allow."""
        super().__init__(sentence)
        self.allowed = tuple(allowed)


class BodyTimeoutError(RequestError):
    """The client took too long to send its body."""

    status = 408
    reason = "slow_client"


class TooLargeError(RequestError):
    """The body, or what it would unpack to, is over a limit."""

    status = 413


class UnsupportedContentError(RequestError):
    """The content type, content coding or image format is not one this server reads."""

    status = 415


class ModelFailedError(RequestError):
    """The model itself failed on a well-formed request."""

    status = 500


class ServerFaultError(RequestError):
    """The server itself failed; the client is told no more than that."""

    def __init__(self) -> None:
        """The log has the rest."""
        super().__init__("the server failed on this request; its log says why")


class RefusedError(RequestError):
    """Nothing is wrong with the request, but it is not served: the same may succeed after ``retry_after`` seconds."""

    reason = "refused"

    def __init__(self, sentence: str, retry_after: float = 1.0) -> None:
        """``retry_after`` is an estimate, in seconds."""
        super().__init__(sentence)
        self.retry_after = retry_after


class UnavailableError(RefusedError):
    """The server has no model yet."""

    status = 503
    reason = "not_ready"


class OverloadedError(RefusedError):
    """More work is waiting than is allowed."""

    status = 503
    reason = "queue_full"


class MemoryFullError(OverloadedError):
    """More bytes of requests are held than is allowed."""

    reason = "memory"


class BusyDecodingError(OverloadedError):
    """So many bodies are to be decoded that the request's own would wait too long."""

    reason = "decoding"


class DeadlineUnattainableError(OverloadedError):
    """So much work is waiting that the request's deadline cannot be met."""

    reason = "deadline"


class RateLimitedError(RefusedError):
    """The client sends more requests than its key allows."""

    status = 429
    reason = "rate_limit"


class ClientShareError(RefusedError):
    """The client's other requests hold all that one client may."""

    status = 429
    reason = "client_share"


class UnauthorizedError(RequestError):
    """The request shows no key, or one that is not known."""

    status = 401
    reason = "unauthorized"


class DeadlineError(RequestError):
    """The request's time ran out before its result was there."""

    status = 504
    reason = "expired"


def shown(value: object) -> str:
    """``repr`` of something a client sent, cut in time and in length: an error never echoes a whole body."""
    form = _SHORT.repr(value)
    return form if len(form) <= _SHOWN else form[:_SHOWN] + "…"
