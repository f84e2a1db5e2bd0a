"""What a compression Job answers: in its termination message, at most 4 KiB of JSON."""

from typing import Literal

import msgspec

from edgemodel_contract.base import Struct
from edgemodel_contract.encoding import encode
from edgemodel_contract.quality import Metric

TERMINATION_MESSAGE_LIMIT = 4096

EXIT_SUCCEEDED = 0
EXIT_UNAVAILABLE = 1
"""Something outside the task failed (network, registry): the same task may succeed later."""
EXIT_BAD_INPUT = 2
EXIT_INFEASIBLE = 3

FailureReason = Literal[
    "SourceUnavailable",
    "SourceUnauthorized",
    "SourceNotFound",
    "ChecksumMismatch",
    "InvalidModel",
    "InvalidDataset",
    "InvalidTask",
    "UnsupportedModel",
    "ObjectivesNotMet",
    "RegistryUnavailable",
    "RegistryUnauthorized",
    "BaseImageInvalid",
    "SourceTooLarge",
    "InternalError",
]
RETRYABLE: frozenset[str] = frozenset(
    {
        "SourceUnavailable",
        "SourceUnauthorized",
        "SourceNotFound",
        "RegistryUnavailable",
        "RegistryUnauthorized",
        "InternalError",
    }
)
"""Reasons that may pass without a change of the EdgeModel: a server comes back, a Secret is mended."""


class OutputQuality(Struct, frozen=True, kw_only=True):
    """How well one output is answered."""

    output: str
    metric: Metric
    value: float
    low: float
    high: float
    """Bounds of the 95 % confidence interval."""
    lost: float = 0.0
    """Against the original on the same samples, as ``quality.lost`` counts it."""
    margin: float = 0.0
    """By how much ``lost`` may be off: its standard error over the samples. What is lost and this must be allowed
    together where the best of several candidates is looked for: the one that seems best has had luck."""
    allowed: float | None = None
    """What may be lost; None where nothing limits it."""
    broken: bool = False
    """It no longer depends on the input as the original does, which no limit allows."""
    words: str = ""
    """What changed, for people."""


class Measurement(Struct, frozen=True, kw_only=True):
    """What was measured on one model, and on what. Times are seconds, sizes bytes."""

    size: int
    """Bytes of the model file."""
    layer_size: int | None = None
    """Bytes of the compressed image layer."""
    latency_p50: float | None = None
    latency_p95: float | None = None
    threads: int = 1
    throughput: float | None = None
    """Inferences per second, one after the other, with ``threads``."""
    peak_memory: int | None = None
    """Resident bytes of a process that has loaded the model and run it, above those of one that has not."""
    accuracy: float | None = None
    metric: Metric | None = None
    """What ``accuracy`` is, a ``quality.Metric``."""
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    """Bounds of the 95 % confidence interval."""
    samples: int = 0
    """How many evaluation samples ``accuracy`` rests on."""
    outputs: tuple[OutputQuality, ...] = ()
    """Each output on its own; ``accuracy`` is that of the one with labels, or of the one that has lost most."""
    confirmed: bool = False
    """Quality was measured by a process of its own, on samples that no step of the search has read."""
    top5: float | None = None
    """Beside a ``Top1`` among more than five classes: the share of labels among the five best scores."""
    top5_low: float | None = None
    top5_high: float | None = None
    """Bounds of its 95 % confidence interval."""
    sparsity: float | None = None
    """Share of the weights that are zero."""
    parameters: int | None = None
    """Numbers that the model has learnt."""
    macs: int | None = None
    """Multiply-accumulate operations of one inference."""


class Candidate(Struct, frozen=True, kw_only=True):
    """One model that was tried. ``rejected`` says why it was not chosen, in a few words."""

    method: str
    """``original``, ``dynamic-int8``, ``static-int8``, ``prune-0.5``, ``prune-0.5+static-int8`` …"""
    measured: Measurement
    rejected: str | None = None


class Success(Struct, frozen=True, kw_only=True, tag="Succeeded", tag_field="outcome"):
    """The model is in the registry. ``image`` is ``repository@sha256:…``."""

    task: str
    """Digest of the task, 64 hex digits."""
    image: str
    source_digest: str
    """``sha256:…`` of the model file as fetched."""
    model_digest: str
    """``sha256:…`` of the model file as served."""
    original: Measurement
    chosen: Candidate
    others: tuple[Candidate, ...] = ()
    cpu: str = ""
    """Name of the CPU that the latencies were measured on."""
    reused: bool = False
    """The registry had the image of this task already."""


class Failure(Struct, frozen=True, kw_only=True, tag="Failed", tag_field="outcome"):
    """No image. ``message`` is a sentence that says what, where and what to do next."""

    task: str
    reason: FailureReason
    message: str
    closest: Candidate | None = None
    """With ``ObjectivesNotMet``: the candidate that came nearest."""
    original: Measurement | None = None


Result = Success | Failure


def encode_result(result: Result) -> bytes:
    """JSON that fits a termination message: runners-up, outputs that lost least, then the end of a long message, are
    left out if need be.
    """
    data = encode(result)
    while len(data) > TERMINATION_MESSAGE_LIMIT:
        if isinstance(result, Success) and result.others:
            result = msgspec.structs.replace(result, others=result.others[:-1])
        elif isinstance(result, Success) and result.chosen.measured.outputs:
            result = msgspec.structs.replace(result, chosen=_fewer_outputs(result.chosen))
        elif isinstance(result, Failure) and result.closest and result.closest.measured.outputs:
            result = msgspec.structs.replace(result, closest=_fewer_outputs(result.closest))
        elif isinstance(result, Failure) and len(result.message) > 200:
            result = msgspec.structs.replace(result, message=result.message[: len(result.message) // 2] + "…")
        else:
            raise ValueError(f"the result takes {len(data)} bytes, more than {TERMINATION_MESSAGE_LIMIT}")
        data = encode(result)
    return data


def without_details(result: Success) -> Success:
    """``result`` with the single outputs of the chosen model only."""
    original = msgspec.structs.replace(result.original, outputs=())
    return msgspec.structs.replace(result, original=original, others=tuple(map(_without_outputs, result.others)))


def _without_outputs(candidate: Candidate) -> Candidate:
    return msgspec.structs.replace(candidate, measured=msgspec.structs.replace(candidate.measured, outputs=()))


def _fewer_outputs(candidate: Candidate) -> Candidate:
    """Half as many, of those that have lost most."""
    kept = sorted(candidate.measured.outputs, key=lambda item: -item.lost)[: len(candidate.measured.outputs) // 2]
    return msgspec.structs.replace(candidate, measured=msgspec.structs.replace(candidate.measured, outputs=tuple(kept)))


def decode_result(text: str) -> Result:
    """Read a termination message.

    Raises:
        ValueError: it is not a Result, for instance because the process was killed before it wrote one.
    """
    try:
        result: Result = msgspec.json.decode(text, type=Result)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a valid result: {error}") from error
    return result
