"""Job mode: a task from a mounted file, progress as JSON lines on stdout, the Result in the termination message."""

import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TypeVar

import msgspec

from edgemodel_compressor.errors import TaskError, unexpected
from edgemodel_compressor.fetch.fetcher import job_fetcher
from edgemodel_compressor.job.pipeline import check_task, require_chosen, run
from edgemodel_compressor.job.termination_message import write_result
from edgemodel_compressor.progress import Emit, Span, estimating, never_silent
from edgemodel_compressor.publish.card import model_folder
from edgemodel_compressor.publish.push import Places, find_base, find_result, publish_image, publish_result
from edgemodel_compressor.search.engine import Outcome
from edgemodel_compressor.settings import Settings
from edgemodel_contract.encoding import decode, encode
from edgemodel_contract.progress import Progress
from edgemodel_contract.result import Failure, Result, Success, without_details
from edgemodel_contract.task import REGISTRY_ACCESS_FILE, RegistryAccess, Task

T = TypeVar("T")

_QUIET_SECONDS = 1.0
"""Lines that differ in the fraction alone come no more often than this."""


def run_job(task_file: Path, settings: Settings) -> int:
    """Do the task, write its Result to the termination log and to stdout, and return the exit code."""
    with never_silent(line_reporter()) as emit:
        result = answer(task_file, settings, emit)
    return write_result(result, settings)


def answer(task_file: Path, settings: Settings, emit: Emit) -> Result:
    """The Result of the task in ``task_file``: whatever goes wrong, it is a Failure and not an exception."""
    digest = ""
    try:
        task = _read(task_file, Task, "The task")
        digest = task.digest
        access_file = task_file.parent / REGISTRY_ACCESS_FILE
        access = _read(access_file, RegistryAccess, "The registry access") if access_file.exists() else RegistryAccess()
        return _work(task, access, settings, Span(estimating(emit, time.monotonic)))
    except TaskError as error:
        return Failure(
            task=digest,
            reason=error.reason,
            message=error.message,
            closest=error.closest,
            original=error.original,
        )
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Failure(
            task=digest,
            reason="InternalError",
            message=unexpected(error).message,
        )


def line_reporter() -> Emit:
    """Progress as JSON lines on stdout, flushed, and no flood of them."""
    last: tuple[str, str] = ("", "")
    printed = 0.0

    def emit(progress: Progress) -> None:
        nonlocal last, printed
        now = time.monotonic()
        if (progress.step, progress.message) == last and now - printed < _QUIET_SECONDS:
            return
        # A message with a counter in it is new each time; its step is not.
        if progress.step == last[0] and now - printed < _QUIET_SECONDS / 10:
            return
        last, printed = (progress.step, progress.message), now
        print(encode(progress).decode(), flush=True)

    return emit


def success(task: Task, outcome: Outcome, image: str, layer_size: int | None) -> Success:
    """The Result of a finished task. ``layer_size`` is that of the layer as pushed, if it was."""
    require_chosen(outcome.choice, outcome)
    original, chosen = outcome.served
    if layer_size is not None:
        measured = msgspec.structs.replace(chosen.measured, layer_size=layer_size)
        chosen = msgspec.structs.replace(chosen, measured=measured)
    result = Success(
        task=task.digest,
        image=image,
        source_digest=f"sha256:{outcome.model.sha256}",
        model_digest=outcome.model_digest(),
        original=original,
        chosen=chosen,
        others=tuple(item for item in outcome.choice.others if item.method != outcome.original.method),
        cpu=outcome.cpu,
    )
    return without_details(result)


def _work(task: Task, access: RegistryAccess, settings: Settings, span: Span) -> Success:
    Places.of(task)
    check_task(task)
    fetcher = job_fetcher(settings, access, task.platform)
    with fetcher.registry() as registry:
        found = find_result(registry, task)
        if found:
            return found
        # Looked at before the long work: a missing base image should not cost an hour to find out.
        base = find_base(registry, task)
        running, pushing = span.split(9, 1)
        with tempfile.TemporaryDirectory(prefix="edgemodel-") as folder:
            outcome = run(task, fetcher, Path(folder), running)
            require_chosen(outcome.choice, outcome)
            files = model_folder(task, outcome)
            published = publish_image(registry, task, base, files, Path(folder), pushing)
            result = success(task, outcome, published.image, published.layer_size)
        publish_result(registry, task, result)
        pushing.report("Pushing", f"pushed {published.image}", 1.0)
        return result


def _read(path: Path, kind: type[T], what: str) -> T:
    try:
        return decode(path.read_bytes(), kind)
    except OSError as error:
        raise TaskError("InvalidTask", f"{what} in {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise TaskError("InvalidTask", f"{what} in {path} is {error}.") from error
