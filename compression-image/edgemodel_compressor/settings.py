"""Limits and places, from environment variables ``EDGEMODEL_<NAME>``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.retry import RetryPolicy
from edgemodel_contract import task as places
from edgemodel_contract.quantity import parse_duration, parse_size


@dataclass(frozen=True)
class Settings:
    """Every field can be set as ``EDGEMODEL_<FIELD>``, with the units of an EdgeModel (``4Gi``, ``30m``)."""

    max_download: int = 4 * 2**30
    """Bytes that a fetched file, and a dataset once unpacked, may have."""
    fetch_timeout: float = 1800.0
    """Seconds that one download may take, retries included."""
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""
    measure_time: float = 3.0
    """Seconds of timed runs per candidate."""
    calibration_samples: int = 256
    """Upper bound of samples that calibrate static quantization; all others evaluate."""
    retry_attempts: int = 4
    retry_delay: float = 0.5
    registry_credentials_dir: Path = Path(places.REGISTRY_CREDENTIALS_DIR)
    registry_ca_dir: Path = Path(places.REGISTRY_CA_DIR)
    model_credentials_dir: Path = Path(places.MODEL_CREDENTIALS_DIR)
    dataset_credentials_dir: Path = Path(places.DATASET_CREDENTIALS_DIR)
    claims_dir: Path = Path(places.CLAIMS_DIR)
    work_dir: Path = Path(places.WORK_DIR)
    """Scratch space of a Job where ``TMPDIR`` is not set."""
    termination_log: Path = Path(places.TERMINATION_LOG)

    @property
    def retry(self) -> RetryPolicy:
        """How often, and after which pauses, a transient failure of a server is tried again."""
        return RetryPolicy(attempts=self.retry_attempts, delay=self.retry_delay)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "max_download": parse_size,
    "fetch_timeout": parse_duration,
    "connect_timeout": parse_duration,
    "read_timeout": parse_duration,
    "measure_time": parse_duration,
    "calibration_samples": int,
    "retry_attempts": int,
    "retry_delay": parse_duration,
}
"""How each setting is read from text; those not named are paths."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from ``environment``.

    Raises:
        TaskError: InvalidTask, naming the variable that cannot be read.
    """
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name = f"EDGEMODEL_{item.name.upper()}"
        text = environment.get(name)
        if not text:
            continue
        try:
            values[item.name] = _READERS.get(item.name, Path)(text)
        except ValueError as error:
            raise TaskError("InvalidTask", f"the environment variable {name} cannot be read: {error}.") from error
    return Settings(**values)
