"""The parts of the status that are figures: compression, sites, and the texts in the printer columns."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from edgemodel_contract.progress import Progress
from edgemodel_contract.quality import format_quality
from edgemodel_contract.quantity import format_duration, format_megabytes, format_number, parse_duration
from edgemodel_contract.result import Candidate, Measurement, OutputQuality, Success
from edgemodel_operator.api import (
    CandidateStatus,
    CompressionStatus,
    EdgeModel,
    MeasurementStatus,
    ModelStatus,
    OutputStatus,
    ProgressStatus,
    SiteStatus,
    Status,
    Summary,
    TimingsStatus,
    TimingStatus,
)
from edgemodel_operator.api.spec import MAX_SITES
from edgemodel_operator.observed import SiteLatency
from edgemodel_operator.plan.policy.compression import Compression, Done, Failed, Running
from edgemodel_operator.plan.policy.health import SiteHealth

STEADY = 0.1
"""A figure in the status is renewed when it moved by more than this share; the metrics have every movement."""
MAX_OTHERS = 8


def model_status(before: ModelStatus | None, result: Success) -> ModelStatus:
    """The version that ``result`` made. The image before it is remembered for people who roll back.

    The same image keeps its timings: servers are told of them, and would restart for others.
    """
    previous: str | None = None
    timings = _timings(result)
    if before is not None and before.image == result.image:
        previous, timings = before.previous_image, before.timings
    elif before is not None:
        previous = before.image
    return ModelStatus(
        image=result.image,
        task=result.task,
        source_digest=result.source_digest,
        model_digest=result.model_digest,
        previous_image=previous,
        timings=timings,
    )


def _timings(result: Success) -> TimingsStatus | None:
    before, after = _timing(result.original), _timing(result.chosen.measured)
    if before is None or after is None:
        return None
    return TimingsStatus(
        original=before, chosen=after, threads=result.chosen.measured.threads, cpu=result.cpu[:256] or None
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
                original=_measurement(result.original),
                chosen=_candidate(result.chosen),
                others=[_candidate(item) for item in result.others[:MAX_OTHERS]] or None,
                cpu=result.cpu or None,
            )
        case Running(job=job, progress=progress):
            return CompressionStatus(
                task=task, job=job or None, progress=_progress(model, task, progress) if progress else None
            )
        case Failed(job=job, failure=failure):
            original = failure.original if failure else None
            closest = failure.closest if failure else None
            return CompressionStatus(
                task=task,
                job=job,
                original=_measurement(original) if original else None,
                chosen=_candidate(closest) if closest else None,
            )


def _progress(model: EdgeModel, task: str, progress: Progress) -> ProgressStatus:
    percent = round(100 * progress.fraction)
    before = model.status.compression
    if before is not None and before.task == task and before.progress is not None:
        old = before.progress
        # Every line of the log would be a write; a tenth of the way, or another step, is news.
        if old.step == progress.step and abs(old.percent - percent) < 10:
            return old
    return ProgressStatus(
        step=progress.step, message=progress.message, percent=percent, remaining=_duration(progress.remaining)
    )


def _measurement(measured: Measurement) -> MeasurementStatus:
    return MeasurementStatus(
        size_bytes=measured.size,
        layer_size_bytes=measured.layer_size,
        latency_p50=_duration(measured.latency_p50),
        latency_p95=_duration(measured.latency_p95),
        threads=measured.threads,
        metric=measured.metric,
        accuracy=_quality(measured.metric, measured.accuracy),
        accuracy_low=_quality(measured.metric, measured.accuracy_low),
        accuracy_high=_quality(measured.metric, measured.accuracy_high),
        top5=_quality("Top5", measured.top5),
        top5_low=_quality("Top5", measured.top5_low),
        top5_high=_quality("Top5", measured.top5_high),
        samples=measured.samples or None,
        confirmed=measured.confirmed or None,
        outputs=[_output(item) for item in sorted(measured.outputs, key=lambda item: -item.lost)] or None,
        sparsity=_percent(measured.sparsity),
    )


def _output(item: OutputQuality) -> OutputStatus:
    return OutputStatus(
        output=item.output,
        metric=item.metric,
        accuracy=format_quality(item.metric, item.value),
        drop=_percent(item.lost),
        message=item.words or None,
    )


def _candidate(candidate: Candidate) -> CandidateStatus:
    return CandidateStatus(
        method=candidate.method,
        measured=_measurement(candidate.measured),
        rejected=candidate.rejected,
    )


def summary(measured: CompressionStatus | None, ready_sites: int, sites: int) -> Summary:
    """The main figures of what compression chose, where it has."""
    place = f"{ready_sites}/{sites}"
    if measured is None or measured.original is None or measured.chosen is None or measured.chosen.rejected is not None:
        return Summary(sites=place)
    before, after = measured.original, measured.chosen.measured
    return Summary(
        size=f"{format_megabytes(before.size_bytes)}→{format_megabytes(after.size_bytes)} MB",
        latency=_change(before.latency_p95, after.latency_p95),
        accuracy=_change(before.accuracy, after.accuracy),
        sites=place,
    )


def _change(before: str | None, after: str | None) -> str | None:
    if before is None or after is None:
        return None
    return f"{before.removesuffix('%') if after.endswith('%') else before}→{after}"


def is_news(before: Status, after: Status) -> bool:
    """Whether somebody waits for it: the first word about a generation, another image, or another status or reason
    of a condition. The rest is figures, sites on their way, and words.
    """

    def gist(status: Status) -> object:
        said = [(item.type, item.status, item.reason) for item in status.conditions]
        return status.observed_generation, status.model, said

    return gist(before) != gist(after)


def describe_result(status: CompressionStatus | None) -> str:
    """One sentence on what compression did, from what was measured."""
    figures = summary(status, 0, 0)
    if status is None or status.chosen is None or figures.size is None:
        return "The model is compressed."
    measured = status.chosen.measured
    parts = [f"size {figures.size}"]
    if figures.latency is not None:
        plural = "" if measured.threads == 1 else "s"
        parts.append(f"p95 {figures.latency} with {measured.threads} thread{plural}")
    if figures.accuracy is not None:
        parts.append(f"{measured.metric or 'accuracy'} {figures.accuracy} on {measured.samples} samples")
    return f"{status.chosen.method}: {', '.join(parts)}."


def site_statuses(
    model: EdgeModel,
    sites: Sequence[SiteHealth],
    reached: Mapping[str, Sequence[str]],
    latency: Mapping[str, SiteLatency],
    stale_after: timedelta,
    now: datetime,
) -> list[SiteStatus]:
    """One entry a site, at most ``MAX_SITES``; ``reached`` has the addresses of each."""
    before = {site.name: site for site in model.status.sites}
    result = []
    for health in sites[:MAX_SITES]:
        figures = latency.get(health.name)
        fresh = figures is not None and now - figures.at <= stale_after
        old = before.get(health.name)
        ready = health.state == "Ready"
        result.append(
            SiteStatus(
                name=health.name,
                state=health.state,
                reason=None if ready else health.reason,
                message=None if ready else health.message[:512],
                image=health.image,
                revision=health.revision if health.settled_at else None,
                contested=health.contested,
                addresses=list(reached.get(health.name, ())) or None,
                replicas=health.replicas,
                ready_replicas=health.ready,
                latency=_steady(old.latency if old else None, figures.seconds, format_duration, parse_duration)
                if figures and fresh
                else None,
                requests_per_second=_steady(
                    old.requests_per_second if old else None,
                    figures.requests_per_second or None,
                    format_number,
                    float,
                )
                if figures and fresh
                else None,
            )
        )
    return result


def _steady(
    old: str | None,
    value: float | None,
    write: Callable[[float], str],
    read: Callable[[str], float],
) -> str | None:
    if value is None:
        return None
    if old is not None:
        try:
            if abs(read(old) - value) <= STEADY * value:
                return old
        except ValueError:
            pass
    return write(value)


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


def _quality(metric: str | None, value: float | None) -> str | None:
    return None if value is None else format_quality(metric, value)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}%"
