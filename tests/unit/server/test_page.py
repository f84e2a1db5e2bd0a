"""The model's page and the pages beside it: what they say, and that nothing in them can run or reach out."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.card import CARD_FILE, Comparison
from edgemodel_contract.encoding import encode
from edgemodel_contract.quality import Metric
from edgemodel_contract.serving import TIMINGS_VARIABLE, Timing, Timings
from edgemodel_contract.task import Objectives, Pruning, Quantization, Recipe
from edgemodel_server.page.example import example_request
from edgemodel_server.page.report import Report, read_report
from edgemodel_server.service import Service
from tests.unit.server.builders import ELEMENT_TYPES, brighter_side, identity, mlp
from tests.unit.server.conftest import Serve, client_of

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
CANDIDATES: list[dict[str, Any]] = [
    {"method": "original", "size": 44_700_000, "latencyP50": 0.00164, "latencyP95": 0.00231, "accuracy": 0.9913},
    {"method": "static-int8", "size": 11_300_000, "latencyP50": 0.000511, "latencyP95": 0.0007, "accuracy": 0.9913},
    {"method": "prune-0.9", "size": 9_000_000, "accuracy": 0.5, "sparsity": 0.9, "rejected": "loses 49 points"},
]


class Elements(HTMLParser):
    """Every element of a document with its attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)


def put_beside(folder: Path, **files: bytes) -> None:
    """Add files (``report_json`` is ``report.json``) to a model folder and list them in its card."""
    card = json.loads((folder / CARD_FILE).read_bytes())
    for key, content in files.items():
        name = key.replace("_", ".")
        (folder / name).write_bytes(content)
        card["files"][name] = "sha256:" + hashlib.sha256(content).hexdigest()
    (folder / CARD_FILE).write_text(json.dumps(card))


@pytest.fixture
def serve_beside(
    new_service: Callable[..., Service], load: Callable[[Service], None], tmp_path: Path
) -> Callable[..., Service]:
    """A ready service whose model has the given files beside it."""

    def build(files: dict[str, bytes], env: dict[str, str] | None = None, **card: Any) -> Service:
        service = new_service(brighter_side(), env, **card)
        put_beside(tmp_path / "model", **files)
        load(service)
        return service

    return build


def words(html: str) -> str:
    """The visible text, with single spaces."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)).replace("\xa0", " ")


async def test_it_shows_the_card(serve: Serve) -> None:
    client = await serve(brighter_side(), labels=["left", "right", "neither"], name="sides")
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    text = words(response.text)
    for expected in (
        "sides",
        "Image classifier · 3 classes, served as it came",
        "image FP32 any × 1 × 8 × 8",
        "scores FP32 any × 3",
        "left right neither",
        "https://models.example/digits.onnx",
        "sha256:" + "0" * 64,
        "1" * 64,
        "engine:1",
    ):
        assert expected in text
    assert "How it was compressed" not in text


async def test_it_shows_what_was_tried(serve_beside: Callable[..., Service]) -> None:
    report = {"chosen": "static-int8", "cpu": "A CPU", "candidates": CANDIDATES, "notes": ["a note"]}
    service = serve_beside({"report_json": json.dumps(report).encode(), "report_html": b"<h1>all of it</h1>"})
    async with client_of(service) as client:
        html = (await client.get("/")).text
    text = words(html)
    assert "1.64 ms → 511 µs 3.21× faster" in text
    assert "2 static-int8 11.3 MB 511 µs 700 µs 99.13 % chosen" in text
    assert "3 prune-0.9 9 MB 50.00 % 90 % loses 49 points" in text
    assert "a note" in text
    assert html.count("<figure>") == 2
    assert ("a", {"href": "report.html"}) in Elements(html).found


async def test_of_many_classes_the_best_five_have_a_column(serve_beside: Callable[..., Service]) -> None:
    candidates = [{**item, "top5": 0.998} for item in CANDIDATES]
    async with client_of(serve_beside({"report_json": json.dumps({"candidates": candidates}).encode()}, {})) as client:
        html = (await client.get("/")).text
    assert "2 static-int8 11.3 MB 511 µs 700 µs 99.13 % 99.80 %" in words(html)
    assert "Top 5" in words(html)


TIMINGS = Timings(
    original=Timing(latency_p50=0.0342, latency_p95=0.05),
    chosen=Timing(latency_p50=0.0057, latency_p95=0.01),
    threads=2,
    cpu="Example CPU",
)
UNCLOCKED = [{key: value for key, value in item.items() if "latency" not in key} for item in CANDIDATES]


async def test_latencies_come_from_beside_the_image(serve_beside: Callable[..., Service]) -> None:
    report = {"chosen": "static-int8", "candidates": UNCLOCKED}
    env = {TIMINGS_VARIABLE: encode(TIMINGS).decode()}
    async with client_of(serve_beside({"report_json": json.dumps(report).encode()}, env)) as client:
        text = words((await client.get("/")).text)
    assert "34.2 ms → 5.7 ms 6.00× faster" in text
    assert "50 ms → 10 ms 5.00× faster" in text
    assert "Latency: batch of one, on 2 threads, on Example CPU." in text
    assert "2 static-int8 11.3 MB 5.7 ms 10 ms 99.13 % chosen" in text


@pytest.mark.parametrize("timings", ["", "{", "[]", '{"original": 3}', '{"original": {"latencyP50": "x"}}'])
async def test_timings_that_say_nothing_are_not_shown(serve_beside: Callable[..., Service], timings: str) -> None:
    report = {"chosen": "static-int8", "candidates": UNCLOCKED}
    service = serve_beside({"report_json": json.dumps(report).encode()}, {TIMINGS_VARIABLE: timings})
    async with client_of(service) as client:
        text = words((await client.get("/")).text)
    assert "static-int8 11.3 MB" in text
    assert "faster" not in text


async def test_a_report_with_latencies_of_its_own_keeps_them(serve_beside: Callable[..., Service]) -> None:
    report = {"chosen": "static-int8", "candidates": CANDIDATES}
    env = {TIMINGS_VARIABLE: encode(TIMINGS).decode()}
    async with client_of(serve_beside({"report_json": json.dumps(report).encode()}, env)) as client:
        assert "1.64 ms → 511 µs" in words((await client.get("/")).text)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"candidates": 3}', b'{"candidates": [1, {"method": ""}]}'])
async def test_a_report_that_says_nothing_is_not_shown(serve_beside: Callable[..., Service], content: bytes) -> None:
    async with client_of(serve_beside({"report_json": content})) as client:
        response = await client.get("/")
    assert response.status_code == 200
    assert "How it was compressed" not in response.text


async def test_a_report_that_the_card_does_not_list_is_not_shown(serve: Serve, tmp_path: Path) -> None:
    client = await serve(brighter_side())
    for name in ("report.json", "report.html"):
        (tmp_path / "model" / name).write_text(json.dumps({"candidates": CANDIDATES}))
    assert "How it was compressed" not in (await client.get("/")).text
    assert (await client.get("/report.html")).status_code == 404


async def test_a_report_changed_after_the_start_is_not_served(
    serve_beside: Callable[..., Service], tmp_path: Path
) -> None:
    async with client_of(serve_beside({"report_html": b"<h1>measured</h1>"})) as client:
        assert (await client.get("/report.html")).text == "<h1>measured</h1>"
        (tmp_path / "model" / "report.html").write_bytes(b"<h1>improved</h1>")
        response = await client.get("/report.html")
    assert response.status_code == 404
    assert "came without a report.html" in response.json()["error"]


async def test_what_a_card_and_a_report_say_stays_text(serve_beside: Callable[..., Service]) -> None:
    candidates = [{**item, "method": f"{NASTY}{index}", "rejected": NASTY} for index, item in enumerate(CANDIDATES)]
    report = {"chosen": f"{NASTY}1", "cpu": NASTY, "candidates": candidates, "notes": [NASTY]}
    service = serve_beside({"report_json": json.dumps(report).encode()}, name=NASTY, labels=[NASTY, "b", "c"])
    async with client_of(service) as client:
        page, docs = await client.get("/"), await client.get("/docs")
    for response, scripts in ((page, 2), (docs, 0)):
        elements = Elements(response.text)
        assert [tag for tag, _ in elements.found].count("script") == scripts
        assert not [attributes for _, attributes in elements.found if any(name.startswith("on") for name in attributes)]
        assert [tag for tag, _ in elements.found].count("img") == 0
    assert NASTY in Elements(page.text).text["h1"]
    assert json.loads(Elements(page.text).text["script"][0])["model"] == NASTY


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_only_what_is_in_the_document_may_run(serve: Serve, path: str) -> None:
    response = await (await serve(brighter_side())).get(path)
    policy = dict(item.split(" ", 1) for item in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    found = re.findall(r"<(style|script)>(.*?)</\1>", response.text, re.DOTALL)
    for tag, content in found:
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert {tag for tag, _ in found} == ({"style", "script"} if path == "/" else {"style"})
    for name, value in (
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ):
        assert response.headers[name] == value


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_nothing_is_loaded_from_elsewhere(serve: Serve, path: str) -> None:
    elements = Elements((await (await serve(brighter_side())).get(path)).text)
    sources = [value or "" for _, attributes in elements.found for key, value in attributes.items() if key == "src"]
    assert sources == []
    assert all((dict(found)["href"] or "").startswith("data:") for tag, found in elements.found if tag == "link")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_work_behind_a_prefix_of_the_path(serve: Serve, path: str) -> None:
    client = await serve(brighter_side())
    text = (await client.get(path)).text
    links = [dict(found)["href"] or "" for tag, found in Elements(text).found if tag == "a"]
    assert links
    assert not [link for link in links if link.startswith("/")]
    assert not re.search(r"""(?:fetch|call)\(["'`]/""", text)
    assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "."}]


async def test_the_description_for_people_is_made_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await serve(brighter_side())
    first = (await client.get("/docs")).text
    monkeypatch.delattr("edgemodel_server.page.routes.render")
    assert (await client.get("/docs")).text == first


async def test_a_report_of_another_program_runs_no_script(serve_beside: Callable[..., Service]) -> None:
    async with client_of(serve_beside({"report_html": b"<script>alert(1)</script>"})) as client:
        policy = (await client.get("/report.html")).headers["content-security-policy"]
    assert policy.endswith("; sandbox")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


async def test_before_the_model_is_loaded_the_page_says_so(new_service: Callable[..., Service]) -> None:
    async with client_of(new_service(mlp())) as client:
        response = await client.get("/")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "the model is being loaded" in response.text
        assert (await client.get("/report.html")).status_code == 503


@pytest.mark.parametrize("datatype", ELEMENT_TYPES)
async def test_the_example_is_a_request_that_the_model_takes(serve: Serve, datatype: Any) -> None:
    client = await serve(identity([datatype], ["N", 3]))
    described = (await client.get("/openapi.json")).json()
    example = described["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
    response = await client.post("/v2/models/digits/infer", json=example["example"])
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["shape"] == [1, 3]


async def test_the_pages_script_gets_what_repeats_to_the_example(
    new_service: Callable[..., Service], load: Callable[[Service], None]
) -> None:
    service = new_service(brighter_side())
    load(service)
    async with client_of(service) as client:
        data = json.loads(Elements((await client.get("/")).text).text["script"][0])
    (whole,) = example_request(service.model().engine.card)["inputs"]
    (part,) = data["inputs"]
    assert [part["data"][index % len(part["data"])] for index in range(len(whole["data"]))] == whole["data"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
entries = st.dictionaries(
    st.sampled_from(["method", "size", "latencyP50", "accuracy", "rejected", "measured"]), json_values, max_size=6
)


@given(
    st.fixed_dictionaries({"candidates": st.lists(entries | json_values, max_size=5)}, optional={"notes": json_values})
)
def test_no_report_breaks_the_reader(document: dict[str, Any]) -> None:
    report = read_report(json.dumps(document).encode())
    assert report is None or all(entry.method for entry in report.entries)


def test_a_report_may_nest_what_was_measured() -> None:
    report = read_report(b'{"candidates": [{"method": "a", "measured": {"size": 5, "accuracy": true}}]}')
    assert isinstance(report, Report)
    assert report.entries[0].size == 5
    assert report.entries[0].accuracy is None


async def test_it_shows_the_recipe(serve_beside: Callable[..., Service]) -> None:
    recipe = Recipe(
        mode="Manual",
        pruning=Pruning(sparsity=0.5),
        quantization=Quantization(method="Static"),
        objectives=Objectives(max_size=13_600_000, max_latency=0.01, max_accuracy_drop=0.01),
    )
    service = serve_beside({}, recipe=recipe)
    async with client_of(service) as client:
        text = words((await client.get("/")).text)
    for expected in (
        "Mode Manual",
        "Pruning sparsity 50 %",
        "Pruning method Magnitude",
        "Quantization method Static",
        "Max size 13.6 MB",
        "Max latency 10 ms",
        "Max accuracy drop 1 percentage points",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("metric", "before", "after", "expected"),
    [
        ("Top1", 0.9913, 0.9863, "Accuracy 99.13 % → 98.63 % −0.50 points"),
        ("Perplexity", 3.9, 4.095, "Perplexity 3.9 → 4.095 +5.00%"),
        ("MSE", 0.5, 0.5, "MSE 0.5 → 0.5 no loss"),
    ],
)
async def test_quality_is_told_by_its_metric(
    serve_beside: Callable[..., Service], metric: Metric, before: float, after: float, expected: str
) -> None:
    comparison = Comparison(
        source_size=2, model_size=1, source_accuracy=before, model_accuracy=after, metric=metric, samples=300
    )
    report = {"chosen": "static-int8", "candidates": CANDIDATES}
    service = serve_beside({"report_json": json.dumps(report).encode()}, comparison=comparison)
    async with client_of(service) as client:
        text = words((await client.get("/")).text)
    assert expected in text
    assert "on 300 held-out samples" in text


async def test_a_model_that_takes_no_image_offers_json_alone(serve: Serve) -> None:
    client: httpx.AsyncClient = await serve(mlp())
    elements = Elements((await client.get("/")).text)
    assert not [tag for tag, found in elements.found if tag == "input" and found.get("type") == "file"]
    (pane,) = [found for _, found in elements.found if found.get("id") == "pane-json"]
    assert "hidden" not in pane
