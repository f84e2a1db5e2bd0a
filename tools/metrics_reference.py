"""The reference page of the metrics, written from the code: `python -m tools.metrics_reference FOLDER`.

Each program's own metrics object is made, told of one event of every kind, and asked what it exposes: the page cannot
name a metric or a label that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from edgemodel_contract.card import Comparison, ModelCard, Provenance
from edgemodel_contract.task import Recipe
from edgemodel_operator.api.generated import run
from edgemodel_operator.runtime.metrics import Metrics as OperatorMetrics
from edgemodel_server.admin.responder import AGE_HELP, AGE_METRIC
from edgemodel_server.observability.metrics import Metrics as ServerMetrics

PAGE = "metrics.md"
_INTRODUCTION = """\
<!-- Written by `make docs` from the metrics of operator and server; do not edit. -->

# Metrics

Both programs expose Prometheus' text format at `/metrics`, in plain HTTP and without keys: servers on port 8082 of
their pods (the NetworkPolicy admits namespaces with the label `edge5g.io/metrics: "true"`), the operator on port 8080
of the Service `edgemodel-operator-metrics`. A histogram has `_bucket` (label `le`), `_sum` and `_count`. `process_…`
and `python_info` are those of Prometheus' Python client. Times are seconds.
"""


def page() -> str:
    """The whole page."""
    age = f"# HELP {AGE_METRIC} {AGE_HELP}\n# TYPE {AGE_METRIC} gauge\n{AGE_METRIC} 0\n"
    sections = (
        ("Servers", (*_server(), *text_string_to_metric_families(age))),
        ("Operator", _operator()),
    )
    return "\n".join((_INTRODUCTION, *(line for title, families in sections for line in _section(title, families))))


def _section(title: str, families: Iterable[Metric]) -> Iterator[str]:
    yield from (f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|")
    for family in sorted(families, key=lambda each: each.name):
        if family.name.startswith(("process_", "python_")):
            continue
        if not family.samples:
            raise ValueError(f"{family.name}: no event here makes it; add one to tools/metrics_reference.py.")
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        meaning = family.documentation.rstrip(".").replace("|", "\\|")
        yield f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {meaning}. |"
    yield ""


def _server() -> Iterable[Metric]:
    """What a server exposes after one request of every fate."""
    metrics = ServerMetrics()
    origin = Provenance(source_uri="", source_digest="", task="", recipe=Recipe(), method="", engine="", libraries={})
    sizes = Comparison(source_size=1, model_size=1)
    metrics.serving(ModelCard(name="", inputs=(), outputs=(), files={}, provenance=origin, comparison=sizes), "")
    metrics.begin()
    metrics.end("infer", 200, 0.0)
    metrics.computed(1, 0.0, [0.0])
    metrics.part("local", "ok")
    metrics.reject("overloaded")
    return metrics.registry.collect()


def _operator() -> Iterable[Metric]:
    """What the operator exposes after one reconcile and one call."""
    metrics = OperatorMetrics(lambda: 0)
    metrics.api_call("get", 200, 0.0)
    metrics.reconciled(0.0, error=False, models=1)
    return metrics.registry.collect()


def main() -> int:
    """Write the page, or with ``--check`` say whether it is up to date."""
    return run("tools.metrics_reference", str(__doc__), {PAGE: page}, "make docs")


if __name__ == "__main__":
    raise SystemExit(main())
