"""Helm, asked in a process of its own: its Go runtime takes over a process's signals.

`python -m tests.unit.release.helm` reads a request as JSON from standard input, and answers likewise.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tools.release.kustomization import Object

ROOT = Path(__file__).parents[3]


class RefusedError(Exception):
    """Helm refuses the values; its words."""


def render(chart: Path, namespace: str, values: Object) -> list[Object]:
    """The objects that `helm template` prints."""
    files = _ask("render", chart, namespace, values)
    (text,) = [content for name, content in files.items() if not name.endswith("NOTES.txt")]
    return [obj for obj in yaml.safe_load_all(text) if obj]


def lint(chart: Path, namespace: str) -> list[str]:
    """What `helm lint --strict` finds, but for its advice to have an icon."""
    report = _ask("lint", chart, namespace, {})
    advice = 1
    return [*report["errors"], *(str(each) for each in report["messages"] if each["severity"] > advice)]


def validate(chart: Path, values: Object) -> None:
    """Hold values against the chart's schema. Raises RefusedError."""
    _ask("validate", chart, "default", values)


def _ask(verb: str, chart: Path, namespace: str, values: Object) -> Any:
    request = json.dumps({"verb": verb, "chart": str(chart), "namespace": namespace, "values": values})
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise RefusedError(answer["refused"])
    return answer["result"]


def _answer(request: Object) -> Any:
    import helm_python as helm

    if request["verb"] == "lint":
        return helm.lint(request["chart"], strict=True, namespace=request["namespace"])
    with helm.Chart.load(request["chart"]) as chart:
        if request["verb"] == "render":
            return chart.render(values=request["values"], name="edgemodel", namespace=request["namespace"])
        try:
            return chart.validate_schema(chart.merge_values(request["values"]))
        except helm.HelmValuesError as error:
            raise RefusedError(str(error)) from error


if __name__ == "__main__":
    try:
        reply = {"result": _answer(json.load(sys.stdin))}
    except RefusedError as error:
        reply = {"refused": str(error)}
    json.dump(reply, sys.stdout)
