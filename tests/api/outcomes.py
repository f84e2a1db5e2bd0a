"""What compression Jobs answer, as the contract has it."""

from edgemodel_contract.result import Candidate, Failure, FailureReason, Measurement, Success, encode_result

ORIGINAL = Measurement(
    size=46_800_000, latency_p50=0.0301, latency_p95=0.0342, threads=1, accuracy=0.981, metric="Top1", samples=360
)
CHOSEN = Candidate(
    method="static-int8",
    measured=Measurement(
        size=11_800_000, latency_p50=0.0102, latency_p95=0.0114, threads=1, accuracy=0.978, metric="Top1", samples=360
    ),
)


def success(task: str, repository: str, image_digest: str) -> str:
    """The termination message of a Job that pushed ``repository@sha256:image_digest``."""
    return encode_result(
        Success(
            task=task,
            image=f"{repository}@sha256:{image_digest}",
            source_digest=f"sha256:{'a' * 64}",
            model_digest=f"sha256:{'b' * 64}",
            original=ORIGINAL,
            chosen=CHOSEN,
            cpu="Test CPU",
        )
    ).decode()


def failure(task: str, reason: FailureReason, message: str) -> str:
    """The termination message of a Job that failed; with ObjectivesNotMet it names the closest candidate."""
    missed = reason == "ObjectivesNotMet"
    return encode_result(
        Failure(
            task=task,
            reason=reason,
            message=message,
            closest=CHOSEN if missed else None,
            original=ORIGINAL if missed else None,
        )
    ).decode()
