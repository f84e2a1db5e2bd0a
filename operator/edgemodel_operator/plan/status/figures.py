"""The parts of the status that are figures: compression, sites, and the texts in the printer columns."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import UNSET, UnsetType

from edgemodel_contract.progress import Progress
from edgemodel_contract.quality import SHARES, format_quality
from edgemodel_contract.quantity import format_duration, format_megabytes, format_number, parse_duration
from edgemodel_contract.result import Candidate, Measurement, OutputQuality, Success
from edgemodel_operator.api import (
    CandidateStatus,
    CompressionStatus,
    CompressionSummary,
    EdgeModel,
    MeasurementStatus,
    ModelStatus,
    OutputStatus,
    ProgressStatus,
    SiteStatus,
    Status,
    TimingsStatus,
    TimingStatus,
)
from edgemodel_operator.observed import SiteLatency
from edgemodel_operator.plan.policy.compression import Compression, Done, Failed, Running
from edgemodel_operator.plan.policy.health import SiteHealth

T = TypeVar("T")

STEADY = 0.1
"""A figure in the status is renewed when it moved by more than this share; the metrics have every movement."""
MOST_OTHERS = 8
MOST_SITES = 500


def model_status(before: ModelStatus | UnsetType, result: Success) -> ModelStatus:
    """The version that ``result`` made. The image before it is remembered for people who roll back.

    The same image keeps its timings: servers are told of them, and would restart for others.
    """
    previous: str | UnsetType = UNSET
    timings = _timings(result)
    if before is not UNSET and before.image == result.image:
        previous, timings = before.previous_image, before.timings
    elif before is not UNSET:
        previous = before.image
    return ModelStatus(
        image=result.image,
        task=result.task,
        source_digest=result.source_digest,
        model_digest=result.model_digest,
        previous_image=previous,
        timings=timings,
    )


def _timings(result: Success) -> TimingsStatus | UnsetType:
    before, after = _timing(result.original), _timing(result.chosen.measured)
    if before is None or after is None:
        return UNSET
    return TimingsStatus(
        original=before, chosen=after, threads=result.chosen.measured.threads, cpu=result.cpu[:256] or UNSET
    )


def _timing(measured: Measurement) -> TimingStatus | None:
    if measured.latency_p50 is None or measured.latency_p95 is None:
        return None
    return TimingStatus(
        latency_p50=format_duration(measured.latency_p50), latency_p95=format_duration(measured.latency_p95)
    )


def compression_status(model: EdgeModel, task: str, compression: Compression) -> CompressionStatus:
    """Progress while it runs, figures when it is done; a failure keeps what was measured on the way."""
    match compression:
        case Done(result):
            return CompressionStatus(
                task=task,
                summary=_summary(result),
                original=_measurement(result.original),
                chosen=_candidate(result.chosen),
                others=[_candidate(item) for item in result.others[:MOST_OTHERS]] or UNSET,
                cpu=result.cpu or UNSET,
            )
        case Running(job=job, progress=progress):
            return CompressionStatus(
                task=task, job=job or UNSET, progress=_progress(model, task, progress) if progress else UNSET
            )
        case Failed(job=job, failure=failure):
            original = failure.original if failure else None
            closest = failure.closest if failure else None
            return CompressionStatus(
                task=task,
                job=job,
                original=_measurement(original) if original else UNSET,
                chosen=_candidate(closest) if closest else UNSET,
            )


def _progress(model: EdgeModel, task: str, progress: Progress) -> ProgressStatus:
    percent = round(100 * progress.fraction)
    before = model.status.compression
    if before is not UNSET and before.task == task and before.progress is not UNSET:
        old = before.progress
        # Every line of the log would be a write; a tenth of the way, or another step, is news.
        if old.step == progress.step and abs(old.percent - percent) < 10:
            return old
    return ProgressStatus(
        step=progress.step, message=progress.message, percent=percent, remaining=_duration(progress.remaining)
    )


def _measurement(measured: Measurement) -> MeasurementStatus:
    return MeasurementStatus(
        size=measured.size,
        layer_size=_or_unset(measured.layer_size),
        latency_p50=_duration(measured.latency_p50),
        latency_p95=_duration(measured.latency_p95),
        threads=measured.threads,
        accuracy=UNSET if measured.accuracy is None else format_quality(measured.metric, measured.accuracy),
        interval=_interval(measured.metric, measured.accuracy_low, measured.accuracy_high),
        metric=_or_unset(measured.metric),
        top5=UNSET if measured.top5 is None else format_quality("top5", measured.top5),
        top5_interval=_interval("top5", measured.top5_low, measured.top5_high),
        samples=measured.samples or UNSET,
        confirmed=measured.confirmed or UNSET,
        outputs=[_output(item) for item in sorted(measured.outputs, key=lambda item: -item.lost)] or UNSET,
        sparsity=_percent(measured.sparsity),
    )


def _output(item: OutputQuality) -> OutputStatus:
    return OutputStatus(
        output=item.output,
        metric=item.metric,
        accuracy=format_quality(item.metric, item.value),
        change=item.words or UNSET,
    )


def _candidate(candidate: Candidate) -> CandidateStatus:
    return CandidateStatus(
        method=candidate.method,
        measured=_measurement(candidate.measured),
        rejected=_or_unset(candidate.rejected),
    )


def _summary(result: Success) -> CompressionSummary:
    before, after = result.original, result.chosen.measured
    latency: str | UnsetType = UNSET
    if before.latency_p95 is not None and after.latency_p95 is not None:
        latency = f"{format_duration(before.latency_p95)}→{format_duration(after.latency_p95)}"
    accuracy: str | UnsetType = UNSET
    if before.accuracy is not None and after.accuracy is not None:
        accuracy = _change(after.metric, before.accuracy, after.accuracy)
    return CompressionSummary(
        size=f"{format_megabytes(before.size)}→{format_megabytes(after.size)} MB",
        latency=latency,
        accuracy=accuracy,
    )


def is_news(before: Status, after: Status) -> bool:
    """Whether somebody waits for it: the first word about a generation, another image, or another status or reason
    of a condition. The rest is figures, sites on their way, and words.
    """

    def gist(status: Status) -> object:
        said = [(item.type, item.status, item.reason) for item in status.conditions]
        return status.observed_generation, status.model, said

    return gist(before) != gist(after)


def _change(metric: str | None, before: float, after: float) -> str:
    if metric in SHARES:
        return f"{100 * before:.1f}→{100 * after:.1f}%"
    return f"{format_quality(metric, before)}→{format_quality(metric, after)}"


def _interval(metric: str | None, low: float | None, high: float | None) -> str | UnsetType:
    if low is None or high is None:
        return UNSET
    return f"{format_quality(metric, low)} to {format_quality(metric, high)}"


def describe_result(status: CompressionStatus) -> str:
    """One sentence on what compression did, from what was measured."""
    if status.summary is UNSET or status.chosen is UNSET:
        return "The model is compressed."
    parts = [f"size {status.summary.size}"]
    measured = status.chosen.measured
    if status.summary.latency is not UNSET:
        plural = "" if measured.threads == 1 else "s"
        parts.append(f"p95 {status.summary.latency} with {measured.threads} thread{plural}")
    if status.summary.accuracy is not UNSET:
        metric = measured.metric if measured.metric is not UNSET else "accuracy"
        parts.append(f"{metric} {status.summary.accuracy} on {measured.samples} samples")
    return f"{status.chosen.method}: {', '.join(parts)}."


def site_statuses(
    model: EdgeModel,
    sites: Sequence[SiteHealth],
    latency: Mapping[str, SiteLatency],
    stale_after: timedelta,
    now: datetime,
) -> list[SiteStatus]:
    """One entry a site, at most ``MOST_SITES``."""
    before = {site.name: site for site in model.status.sites}
    result = []
    for health in sites[:MOST_SITES]:
        figures = latency.get(health.name)
        fresh = figures is not None and now - figures.at <= stale_after
        old = before.get(health.name)
        ready = health.state == "Ready"
        result.append(
            SiteStatus(
                name=health.name,
                state=health.state,
                reason=UNSET if ready else health.reason,
                message=UNSET if ready else health.message[:512],
                image=_or_unset(health.image),
                revision=_or_unset(health.revision if health.settled_at else None),
                replicas=health.replicas,
                ready_replicas=health.ready,
                latency=_steady(old.latency if old else UNSET, figures.seconds, format_duration, parse_duration)
                if figures and fresh
                else UNSET,
                requests_per_second=_steady(
                    old.requests_per_second if old else UNSET,
                    figures.requests_per_second or None,
                    format_number,
                    float,
                )
                if figures and fresh
                else UNSET,
            )
        )
    return result


def _steady(
    old: str | UnsetType,
    value: float | None,
    write: Callable[[float], str],
    read: Callable[[str], float],
) -> str | UnsetType:
    if value is None:
        return UNSET
    if old is not UNSET:
        try:
            if abs(read(old) - value) <= STEADY * value:
                return old
        except ValueError:
            pass
    return write(value)


def _duration(seconds: float | None) -> str | UnsetType:
    return UNSET if seconds is None else format_duration(seconds)


def _percent(share: float | None) -> str | UnsetType:
    return UNSET if share is None else f"{100 * share:.2f}%"


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
