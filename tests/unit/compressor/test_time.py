"""Time: what a search is given holds within one step, and no step is silent for long. Clocks are made up here."""

import signal
import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.errors import NotApplicableError, OutOfTimeError, not_applicable, told
from edgemodel_compressor.evaluate import latency
from edgemodel_compressor.evaluate.latency import latency_round
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.progress import Span, given_up_in_time, never_silent
from edgemodel_compressor.search import engine
from edgemodel_compressor.search.engine import compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.progress import Progress
from edgemodel_contract.task import Recipe, Search
from tests.unit.compressor import builders


def test_a_report_after_the_deadline_ends_the_work_and_is_still_given() -> None:
    ticks = count()
    seen: list[str] = []
    span = Span(lambda progress: seen.append(progress.message), deadline=1.0, clock=lambda: float(next(ticks)))
    for part in span.split(1, 1):
        part.report("Compressing", "in time")
    with pytest.raises(OutOfTimeError):
        span.split(3, 2)[1].report("Compressing", "late")
    assert seen == ["in time", "in time", "late"]


def test_that_time_is_up_is_no_fault_of_a_method_or_an_estimate() -> None:
    def late() -> int:
        raise OutOfTimeError("late")

    with pytest.raises(OutOfTimeError), not_applicable():
        late()
    with pytest.raises(OutOfTimeError):
        told(late, 0, lambda _: None)
    assert not issubclass(OutOfTimeError, NotApplicableError)


def test_a_step_that_never_reports_is_given_up_at_the_deadline() -> None:
    span = Span(lambda _: None, deadline=0.05, clock=lambda: 0.0)

    def endless() -> None:
        with given_up_in_time(span):
            while True:
                pass

    with pytest.raises(OutOfTimeError):
        endless()
    # What was done by then is left alone.
    with given_up_in_time(Span(lambda _: None, deadline=1e6, clock=lambda: 0.0)):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    with given_up_in_time(Span(lambda _: None)):
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_step_inside_of_a_tool_that_takes_too_long_ends_the_search_and_keeps_what_it_has(
    settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)

    def endless(*_: object, **__: object) -> None:
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        signal.raise_signal(signal.SIGALRM)
        while True:
            pass

    monkeypatch.setattr("edgemodel_compressor.search.candidate_builder.calibrate", endless)
    values, labels = builders.blobs(64, (48,))
    recipe = Recipe(search=Search(timeout=100.0))
    model = load_model(shared / "mlp.onnx", "0" * 64, (), 1)
    job = Job(model, Dataset({"x": values}, labels), recipe, 1, tmp_path, settings, lambda: 0.0)
    outcome = compress(job, Span(lambda _: None))
    # Whether weights alone are tried in a second form depends on how quick the first one was.
    assert {item.method.removesuffix("-widened") for item in outcome.tried} == {"weight-int8"}
    assert any("compression.search.timeout was used up" in note for note in outcome.notes)


def test_throughput_is_left_out_where_no_time_is_left_and_the_notes_say_so(
    settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)
    monkeypatch.setattr(engine, "_try_methods", lambda *_: None)
    values, labels = builders.blobs(64, (48,))
    model = load_model(shared / "mlp.onnx", "0" * 64, (), 1)
    job = Job(model, Dataset({"x": values}, labels), Recipe(), 1, tmp_path, settings, lambda: 0.0)
    outcome = compress(job, Span(lambda _: None))
    assert engine.measure_throughput(outcome, 0.0, Span(lambda _: None)).throughput
    late = engine.measure_throughput(replace(outcome, spare=0.0), 0.0, Span(lambda _: None))
    assert not late.throughput
    assert late.notes[-1] == "Throughput was not measured, because compression.search.timeout was used up."


def test_a_long_step_is_said_again_with_how_long_it_takes() -> None:
    seen: list[str] = []
    again = threading.Event()

    def emit(progress: Progress) -> None:
        seen.append(progress.message)
        if "so far" in progress.message:
            again.set()

    with never_silent(emit, 0.02) as tell:
        tell(Progress(step="Loading", message="checking the model", fraction=0.1))
        assert again.wait(30)
    assert seen[0] == "checking the model"
    assert seen[1].startswith("checking the model (")


def test_a_round_of_a_slow_model_has_a_run_at_least(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "PATIENCE", 0.0)
    feed = {"x": np.zeros((1, 48), np.float32)}
    assert len(latency_round(shared / "mlp.onnx", 1, feed, 0.0)) == 1


def test_a_search_whose_time_is_up_gives_up_what_it_has_not_finished(
    settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[Path] = []
    monkeypatch.setattr(engine, "peak_memory", lambda path, *_: weighed.append(path))
    seconds = count()
    values, labels = builders.blobs(64, (48,))
    outcome = compress(
        Job(
            load_model(shared / "mlp.onnx", "0" * 64, (), 1),
            Dataset({"x": values}, labels),
            Recipe(search=Search(timeout=30.0)),
            1,
            tmp_path,
            settings,
            lambda: float(next(seconds)),
        ),
        Span(lambda _: None),
    )
    assert any("compression.search.timeout was used up" in note for note in outcome.notes)
    assert outcome.choice.chosen is not None
    # Of what had been measured by then everything is timed, and nothing more was begun.
    assert next(seconds) < 90
    assert len(weighed) <= 1 + len(outcome.tried)


@pytest.mark.parametrize("late", [False, True])
def test_the_original_is_confirmed_only_while_there_is_time(
    settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr(engine, "peak_memory", lambda *_: now.append(100.0 * late))
    monkeypatch.setattr(engine, "_try_methods", lambda *_: None)
    values, labels = builders.blobs(64, (48,))
    model = load_model(shared / "mlp.onnx", "0" * 64, (), 1)
    recipe = Recipe(search=Search(timeout=30.0))
    job = Job(model, Dataset({"x": values}, labels), recipe, 1, tmp_path, settings, lambda: now[-1])
    outcome = compress(job, Span(lambda _: None))
    assert outcome.choice.chosen is not None
    assert outcome.choice.chosen.method == "original"
    assert (outcome.confirmed is None) == late


def test_with_time_enough_nothing_is_given_up(
    settings: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)
    values, labels = builders.blobs(64, (48,))
    job = Job(
        load_model(shared / "mlp.onnx", "0" * 64, (), 1),
        Dataset({"x": values}, labels),
        Recipe(search=Search(timeout=30.0)),
        1,
        tmp_path,
        settings,
        lambda: 0.0,
    )
    outcome = compress(job, Span(lambda _: None))
    assert not any("time" in note for note in outcome.notes)
    assert all(item.measured.latency_p50 for item in outcome.tried)
