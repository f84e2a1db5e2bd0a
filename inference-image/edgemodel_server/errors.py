"""What can go wrong, as types: with the model at start, and with a request later."""

from reprlib import Repr

_SHOWN = 160
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 2


class ModelError(Exception):
    """The model folder cannot be served. The message is a sentence that says what, where and what to do next."""


class RequestError(Exception):
    """A request that gets no result. The message goes to the client; ``status`` is the HTTP status of its class."""

    status = 500


class BadRequestError(RequestError):
    """The request is malformed or does not fit the model; the message names the field."""

    status = 400


class NotFoundError(RequestError):
    """No such model, version or function."""

    status = 404


class BodyTimeoutError(RequestError):
    """The client took too long to send its body."""

    status = 408


class TooLargeError(RequestError):
    """The body, or what it would unpack to, is over a limit."""

    status = 413


class UnsupportedContentError(RequestError):
    """The content type, content coding or image format is not one this server reads."""

    status = 415


class ModelFailedError(RequestError):
    """The model itself failed on a well-formed request."""

    status = 500


class UnavailableError(RequestError):
    """Not ready, or more work queued than allowed: the same request may succeed a moment later."""

    status = 503
    retry_after = 1
    """Seconds."""


def shown(value: object) -> str:
    """``repr`` of something a client sent, cut in time and in length: an error never echoes a whole body."""
    form = _SHORT.repr(value)
    return form if len(form) <= _SHOWN else form[:_SHOWN] + "…"
