"""The command line: the same engine at a desk, with progress bars, a table, and a folder for the result."""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec
from tqdm import tqdm

from edgemodel_compressor.cli.manifest import read_manifest
from edgemodel_compressor.cli.outfolder import check_out, write_out
from edgemodel_compressor.cli.table import render
from edgemodel_compressor.errors import TaskError, first_line, unexpected
from edgemodel_compressor.fetch.fetcher import Fetcher
from edgemodel_compressor.job.pipeline import check_task, require_chosen, run
from edgemodel_compressor.job.run import success
from edgemodel_compressor.job.termination_message import failure_code
from edgemodel_compressor.progress import SILENCE_SECONDS, Emit, Span, estimating, never_silent
from edgemodel_compressor.publish.card import model_folder, reports
from edgemodel_compressor.publish.push import Places, find_base, publish_image, publish_result
from edgemodel_compressor.registry.credentials import Credentials, read_docker_config
from edgemodel_compressor.search.engine import Outcome, measure_throughput, throughput_seconds
from edgemodel_compressor.settings import Settings
from edgemodel_contract.progress import Progress
from edgemodel_contract.quantity import format_duration
from edgemodel_contract.result import EXIT_BAD_INPUT, EXIT_SUCCEEDED, Success
from edgemodel_contract.task import (
    Objectives,
    Pruning,
    Quantization,
    Recipe,
    Recovery,
    RegistryAccess,
    Search,
    Serving,
    Source,
    Task,
)

_ENGINE = f"edgemodel {version('edgemodel')}"
_REFRESH_SECONDS = 0.1
_SUFFIXES = re.compile(r"\.(onnx|pt2|pt|tar|tar\.gz|tgz|zip)$")


def run_commandline(options: argparse.Namespace, settings: Settings) -> int:
    """Do what ``options`` say and return the exit code; errors are one sentence on stderr."""
    try:
        task = make_task(options)
        check_task(task)
        check_out(options.out)
        if options.push:
            Places.of(task)
        with tempfile.TemporaryDirectory(prefix="edgemodel-") as folder:
            _work(task, options, settings, Path(folder))
    except TaskError as error:
        # Whoever wrote no EdgeModel has an option for its field.
        message = error.message if options.manifest else error.message.replace("compression.dataset", "--dataset")
        print(f"edgemodel-compress: {message}", file=sys.stderr)
        return failure_code(error.reason)
    except OSError as error:
        print(f"edgemodel-compress: the result cannot be written: {first_line(error)}", file=sys.stderr)
        return failure_code("InvalidTask")
    except Exception as error:  # whatever else comes up: a sentence, and never a traceback
        print(f"edgemodel-compress: {unexpected(error).message}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_SUCCEEDED


def make_task(options: argparse.Namespace) -> Task:
    """The task that the options describe.

    Raises:
        TaskError: InvalidTask where the class names cannot be read.
    """
    if options.manifest:
        return read_manifest(options.manifest, _ENGINE)
    recipe = _recipe(options)
    return Task(
        name=options.name or _SUFFIXES.sub("", Path(options.model).name) or "model",
        model=Source(uri=options.model, sha256=options.sha256, format=options.format),
        dataset=Source(uri=options.dataset) if options.dataset else None,
        inputs=tuple(options.input),
        fixed=dict(options.fix),
        recipe=recipe,
        serving=Serving(threads=options.threads, class_names=_class_names(options.class_names)),
        base_image=options.base_image or "",
        platform=options.platform,
        repository=options.push or "",
        engine=_ENGINE,
    )


def _recipe(options: argparse.Namespace) -> Recipe:
    pruning = quantization = recovery = None
    if options.prune is not None or options.prune_depth is not None:
        pruning = Pruning(
            sparsity=options.prune or 0.0,
            depth=options.prune_depth or 0.0,
            scope=options.prune_scope,
            method=options.prune_method,
        )
    if options.quantize is not None:
        quantization = Quantization(method=options.quantize, bits=options.bits, calibration=options.calibration)
    if options.recover is not None:
        recovery = Recovery(method=options.recover_by, epochs=options.recover, learning_rate=options.learning_rate)
    return Recipe(
        mode=options.mode or ("Manual" if pruning or quantization else "Auto"),
        pruning=pruning,
        quantization=quantization,
        recovery=recovery,
        objectives=Objectives(
            max_size=options.max_size,
            max_latency=options.max_latency,
            max_accuracy_drop=options.max_accuracy_drop,
        ),
        search=Search(trials=options.trials, timeout=options.timeout),
        target_cpu=options.target_cpu,
        metric=options.metric,
        judge=tuple(options.judge),
    )


def _class_names(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError("InvalidTask", f"The class names in {path} cannot be read: {first_line(error)}.") from error
    return tuple(label.strip() for label in text.split(","))


def _work(task: Task, options: argparse.Namespace, settings: Settings, folder: Path) -> None:
    access = RegistryAccess(insecure=tuple(options.insecure_registry))
    sources = [task.model, *([task.dataset] if task.dataset else [])]
    speaks = options.push or any(source.uri.startswith("oci://") for source in sources)
    credentials = read_docker_config(_docker_config()) if speaks else Credentials({})
    fetcher = Fetcher(settings, access, credentials, options.registry_ca, task.platform, local_paths=True)
    with ExitStack() as stack:
        emit = stack.enter_context(never_silent(stack.enter_context(_bar())))
        registry, base = None, None
        if options.push:
            registry = stack.enter_context(fetcher.registry())
            base = find_base(registry, task)
        running, pushing = Span(estimating(emit, time.monotonic)).split(9, 1)
        working, comparing = running.split(9, 1)
        outcome = run(task, fetcher, folder, working)
        outcome = measure_throughput(outcome, throughput_seconds(task.recipe, settings), comparing)
        result = None
        if outcome.choice.chosen is not None:
            # The digest names the image's tag: by content, since a local path says nothing about what it holds.
            source = msgspec.structs.replace(task.model, sha256=outcome.model.sha256)
            task = msgspec.structs.replace(task, model=source)
            result = success(task, outcome, "", None)
            if registry and base:
                published = publish_image(registry, task, base, model_folder(task, outcome), folder, pushing)
                result = success(task, outcome, published.image, published.layer_size)
                publish_result(registry, task, result)
            write_out(options.out, model_folder(task, outcome, clocked=True), result)
            pushing.report("Pushing", "done", 1.0)
        else:
            write_out(options.out, reports(task, outcome, clocked=True), None)
    print(render(outcome))
    require_chosen(outcome.choice, outcome)
    if result:
        print(_summary(options.out, outcome, result))


def _docker_config() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _summary(out: Path, outcome: Outcome, result: Success) -> str:
    where = f"{out}/model.onnx is {result.chosen.method}"
    if outcome.choice.chosen and outcome.choice.chosen.method == outcome.original.method:
        where += ", unchanged"
    return where + (f", pushed as {result.image}" if result.image else "")


@contextmanager
def _bar() -> Iterator[Emit]:
    """A progress bar on stderr; where stderr is no terminal, a line per step instead."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    with tqdm(
        total=1.0,
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar:24}| {elapsed} {desc}",
    ) as bar:
        shown, step = 0.0, ""

        def emit(progress: Progress) -> None:
            nonlocal shown, step
            now = time.monotonic()
            if progress.step == step and now - shown < _REFRESH_SECONDS:
                return
            shown, step = now, progress.step
            left = f" (about {format_duration(progress.remaining)} left)" if progress.remaining else ""
            bar.set_description_str(progress.message + left, refresh=False)
            bar.n = max(bar.n, progress.fraction)
            bar.refresh()

        yield emit


def _lines() -> Emit:
    last, printed = "", 0.0

    def emit(progress: Progress) -> None:
        nonlocal last, printed
        now = time.monotonic()
        # Counters end a message after a colon; they would be a line each.
        head = progress.message.partition(": ")[0]
        if head == last and now - printed < SILENCE_SECONDS:
            return
        text = head if head != last else progress.message
        last, printed = head, now
        print(f"{100 * progress.fraction:3.0f}% {text}", file=sys.stderr, flush=True)

    return emit
