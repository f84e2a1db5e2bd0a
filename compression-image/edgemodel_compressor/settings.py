"""Limits and places of the compressor, from environment variables."""

from dataclasses import dataclass
from pathlib import Path

from edgemodel_compressor.retry import RetryPolicy
from edgemodel_contract import task as places
from edgemodel_contract.quantity import parse_size
from edgemodel_contract.settings import duration, matching, setting, whole


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Durations are in seconds, sizes in bytes once read."""

    max_download: int = setting(parse_size, "4Gi", "bytes that a fetched file, and a dataset once unpacked, may have")
    fetch_timeout: float = setting(duration(), "30m", "time that one download may take, retries included")
    connect_timeout: float = setting(duration(), "10s", "time to connect to a server")
    hub_endpoint: str = setting(
        matching(r"https?://[^\s?#@]*[^\s?#@/]", "https://mirror.example"),
        "https://huggingface.co",
        "URL of the hub that hf:// is about, or of a mirror",
    )
    read_timeout: float = setting(duration(), "1m", "time without a byte after which a connection counts as broken")
    measure_time: float = setting(duration(), "3s", "time of timed runs per candidate")
    calibration_samples: int = setting(
        whole(1), "256", "most samples that calibrate static quantization; all others evaluate"
    )
    retry_attempts: int = setting(whole(1), "4", "how often a request that fails for a passing reason is sent")
    retry_delay: float = setting(duration(), "500ms", "first pause between them; each is twice the one before")
    registry_credentials_dir: Path = setting(
        Path, places.REGISTRY_CREDENTIALS_DIR, "folder with the config.json of the registry's credentials"
    )
    registry_ca_dir: Path = setting(Path, places.REGISTRY_CA_DIR, "folder with the ca.crt of a private registry")
    model_credentials_dir: Path = setting(Path, places.MODEL_CREDENTIALS_DIR, "folder with the model's credentials")
    dataset_credentials_dir: Path = setting(
        Path, places.DATASET_CREDENTIALS_DIR, "folder with the dataset's credentials"
    )
    claims_dir: Path = setting(Path, places.CLAIMS_DIR, "folder with a mounted volume per PersistentVolumeClaim")
    work_dir: Path = setting(Path, places.WORK_DIR, "scratch space of a Job where TMPDIR is not set")
    termination_log: Path = setting(Path, places.TERMINATION_LOG, "file that a Job writes its result to")

    @property
    def retry(self) -> RetryPolicy:
        """How often, and after which pauses, a transient failure of a server is tried again."""
        return RetryPolicy(attempts=self.retry_attempts, delay=self.retry_delay)
