"""The report: what it says of a run, the same on every run where a clock has no part, and safe to show."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from edgemodel_compressor.data.dataset import read_dataset
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.progress import Span
from edgemodel_compressor.publish.card import reports
from edgemodel_compressor.report.document import CLOCKED, make_report
from edgemodel_compressor.report.page import render_page
from edgemodel_compressor.search.engine import Outcome, compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.quality import format_quality
from edgemodel_contract.task import Objectives, Quantization, Recipe, Search, Source, Task
from tests.unit.compressor import builders

Run = Callable[..., tuple[Task, Outcome]]


ANY_LATENCY = Objectives(max_latency=10.0)
"""With a limit that all keep, nothing that a clock says decides the choice."""
TRIALS = 5


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of Auto; the same words give the run that was made before."""
    settings = replace(Settings(), measure_time=0.06)

    @cache
    def compressed(objectives: Objectives = ANY_LATENCY, folder: str = "work") -> tuple[Task, Outcome]:
        work = tmp_path_factory.mktemp(folder)
        recipe = Recipe(objectives=objectives, search=Search(trials=TRIALS))
        task = Task(
            name="net",
            model=Source(uri="https://models.example/conv.onnx?token=secret"),
            recipe=recipe,
            base_image="server",
            repository="registry.example/net",
            engine="edgemodel test",
        )
        model = load_model(shared / "conv.onnx", "0" * 64, (), 1)
        dataset = read_dataset(shared / "conv.npz", model.inputs, 10**8)
        return task, compress(Job(model, dataset, recipe, 1, work, settings), Span(lambda _: None))

    return compressed


class Page(HTMLParser):
    """Counts tags, and gathers what a reader reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.words = ""
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_it_has_every_candidate_with_its_figures(run: Run) -> None:
    task, outcome = run()
    report = make_report(task, outcome, clocked=True)
    assert [entry.method for entry in report.candidates] == ["original", *(item.method for item in outcome.tried)]
    assert len(report.candidates) == 1 + TRIALS
    for entry in report.candidates:
        measured = entry.measured
        assert measured.parameters
        assert measured.macs
        assert measured.latency_p50
        assert measured.throughput
        assert measured.accuracy is not None
        assert measured.accuracy_low is not None
        assert measured.accuracy_high is not None
        assert measured.accuracy_low <= measured.accuracy <= measured.accuracy_high
    assert any(entry.best for entry in report.candidates)
    assert report.parts is not None
    assert report.parts.evaluation == report.candidates[0].measured.samples
    assert report.source_uri == "https://models.example/conv.onnx"


def test_structured_pruning_shows_in_parameters_and_multiplications(run: Run) -> None:
    task, outcome = run()
    entries = {entry.method: entry.measured for entry in make_report(task, outcome, clocked=False).candidates}
    before = entries["original"]
    after = next(measured for method, measured in entries.items() if method.startswith("structured"))
    assert after.parameters is not None
    assert before.parameters is not None
    assert after.parameters < 0.7 * before.parameters
    assert (after.macs or 0) < 0.7 * (before.macs or 0)


def test_layers_say_how_much_they_suffer(run: Run) -> None:
    layers = make_report(*run(), clocked=False).layers
    assert [layer.name for layer in layers]
    assert any(layer.noise is not None for layer in layers)


def test_without_a_clock_two_runs_give_the_same_bytes(run: Run) -> None:
    first, second = run(), run(folder="again")
    assert reports(*first, clocked=False) == reports(*second, clocked=False)
    assert first[1].model_digest() == second[1].model_digest()
    for name in msgspec.structs.fields(type(first[1].original.measured)):
        if name.name in CLOCKED:
            assert name.encode_name.encode() not in reports(*first, clocked=False)["report.json"]


def test_the_page_needs_no_other_file(run: Run) -> None:
    page = Page(render_page(make_report(*run(), clocked=True)))
    assert page.addresses == []
    assert page.tags["svg"] == 2
    assert "script" not in page.tags
    assert "times smaller" in page.words
    assert "static-int8" in page.words
    assert "Measured on" in page.words


def test_markup_in_a_name_is_text(run: Run) -> None:
    name = '<script>alert("x")</script>'
    task, outcome = run()
    page = Page(render_page(make_report(msgspec.structs.replace(task, name=name), outcome, clocked=True)))
    assert "script" not in page.tags
    assert name in page.words


def test_where_nothing_met_the_objectives_the_page_is_about_what_came_closest(run: Run) -> None:
    task, outcome = run(objectives=Objectives(max_size=10))
    report = make_report(task, outcome, clocked=True)
    assert report.chosen is None
    assert report.model_digest is None
    page = Page(render_page(report))
    assert f"None of {1 + TRIALS} candidates meets the objectives" in page.words
    assert f"{report.closest} came closest: size" in page.words


def test_among_more_than_five_classes_top5_stands_beside_top1(tmp_path: Path, settings: Settings) -> None:
    values, labels = builders.blobs(300, (48,), classes=8)
    model = load_model(builders.save(builders.mlp(classes=8), tmp_path / "m.onnx"), "0" * 64, (), 1)
    dataset = read_dataset(builders.save_dataset(tmp_path / "d.npz", x=values, y=labels), model.inputs, 10**8)
    recipe = Recipe(mode="Manual", quantization=Quantization(method="Dynamic"))
    outcome = compress(Job(model, dataset, recipe, 1, tmp_path, settings), Span(lambda _: None))
    task = Task(
        name="m", model=Source(uri="m"), recipe=recipe, base_image="server", repository="registry.example/m", engine="e"
    )
    report = make_report(task, outcome, clocked=False)
    for entry in report.candidates:
        measured = entry.measured
        assert measured.metric == "Top1"
        assert measured.accuracy is not None
        assert measured.top5 is not None
        assert measured.top5_low is not None
        assert measured.top5_high is not None
        assert measured.accuracy < measured.top5
        assert measured.top5_low <= measured.top5 <= measured.top5_high
    words = Page(render_page(report)).words
    assert format_quality("Top5", report.candidates[1].measured.top5 or 0.0) in words
    assert "share of labels among the five best scores" in words
