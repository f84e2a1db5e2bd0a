"""The report that `edgemodel-compress` writes, in a real browser. Screenshots go to build/."""

import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser.chromium import complaints, look_as, requests, visit
from tests.browser.test_page import WIDTHS, find, screenshot
from tests.unit.compressor import builders

PROGRAM = Path(sys.executable).with_name("edgemodel-compress")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressed")
    builders.save(builders.convnet(), folder / "conv.onnx")
    values, labels = builders.blobs(300, (1, 12, 12))
    builders.save_dataset(folder / "conv.npz", image=values, y=labels)
    command = [str(PROGRAM), "conv.onnx", "--dataset", "conv.npz", "--quantize", "static", "-o", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder / "out" / "report.html"


@pytest.mark.parametrize("width", WIDTHS)
def test_it_shows_what_was_tried_by_itself_alone(chrome: Chrome, report: Path, width: str) -> None:
    look_as(chrome, *WIDTHS[width])
    visit(chrome, report.as_uri())
    assert "static-int8" in find(chrome, "table").text
    assert find(chrome, "svg").size["width"] > 0, "the plot of size against accuracy"
    assert complaints(chrome) == []
    assert [url for url in requests(chrome) if not url.startswith(("file:", "data:"))] == []
    widths: list[int] = chrome.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], "nothing is wider than the screen"
    screenshot(chrome, f"report-{width}")
