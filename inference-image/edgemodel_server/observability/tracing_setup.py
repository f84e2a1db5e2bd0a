"""Whether requests are traced: off unless OpenTelemetry's own variables name a collector."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgemodel_contract.settings import SettingsError

if TYPE_CHECKING:
    from edgemodel_server.observability.spans import Tracing

logger = logging.getLogger(__name__)

PROTOCOL = "http/protobuf"

DESCRIPTION = """  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (default unset)
      with either, traces are sent to that collector by OTLP over HTTP; OTEL_SDK_DISABLED, OTEL_SERVICE_NAME,
      OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and the others are used as OpenTelemetry specifies them"""
"""For ``--help``."""


def start_tracing(environment: Mapping[str, str]) -> "Tracing | None":
    """Ready to trace; None where ``environment``, which is this process's, does not ask for it.

    Raises:
        SettingsError: one of OpenTelemetry's variables cannot be read.
    """
    if not is_wanted(environment):
        return None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, "").strip() not in ("", PROTOCOL):
            logger.warning("%s is %r; traces are sent by %s all the same", name, environment[name], PROTOCOL)
    from edgemodel_server.observability.spans import Tracing

    try:
        return Tracing()
    except ValueError as error:
        raise SettingsError(f"one of the OTEL_… variables cannot be used: {error}") from error


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether there is somewhere to send traces to, and nothing that forbids it."""

    def value(name: str) -> str:
        return environment.get(name, "").strip().lower()

    if value("OTEL_SDK_DISABLED") == "true" or value("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(value("OTEL_EXPORTER_OTLP_ENDPOINT") or value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
