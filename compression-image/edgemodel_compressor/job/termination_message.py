"""Where the Result of a Job goes: its termination message, stdout, and the exit code."""

import sys

from edgemodel_compressor.settings import Settings
from edgemodel_contract.result import (
    EXIT_BAD_INPUT,
    EXIT_INFEASIBLE,
    EXIT_SUCCEEDED,
    EXIT_UNAVAILABLE,
    RETRYABLE,
    FailureReason,
    Result,
    Success,
    encode_result,
)


def write_result(result: Result, settings: Settings) -> int:
    """Write ``result`` to the termination log and to stdout, and return its exit code."""
    line = encode_result(result)
    try:
        settings.termination_log.write_bytes(line)
    except OSError as error:
        print(f"The termination log cannot be written: {error}", file=sys.stderr)
    print(line.decode(), flush=True)
    return EXIT_SUCCEEDED if isinstance(result, Success) else failure_code(result.reason)


def failure_code(reason: FailureReason) -> int:
    """The contract's exit code for a failure of ``reason``."""
    if reason == "ObjectivesNotMet":
        return EXIT_INFEASIBLE
    return EXIT_UNAVAILABLE if reason in RETRYABLE else EXIT_BAD_INPUT
