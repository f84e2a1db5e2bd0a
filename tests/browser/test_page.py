"""The model's page in a real browser, from a real server: what a visitor sees and can do. Screenshots go to build/."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.chromium import complaints, look_as, requests, visit
from tests.unit.server.builders import brighter_side, identity, write_folder
from tests.unit.server.test_page import CANDIDATES, NASTY, put_beside
from tests.unit.server.test_predict import picture
from tests.unit.server.test_process import Running, running

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
DEADLINE = 30.0
WIDTHS = {"desktop": (1280, 900), "phone": (375, 812)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("model")
    labels = ["left", "right", "neither"]
    write_folder(folder, brighter_side(), name="sides", labels=labels)
    report = {"chosen": "static-int8", "cpu": "A CPU", "candidates": CANDIDATES}
    put_beside(folder, report_json=json.dumps(report).encode(), report_html=b"<h1>All of it</h1>")
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        yield server


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, chrome: Chrome, server: Running) -> Iterator[Chrome]:
    """The page as seen on a desktop and on a phone; nothing may have gone wrong in it, nor reached elsewhere."""
    look_as(chrome, *WIDTHS[request.param])
    visit(chrome, f"{server.url}/")
    yield chrome
    assert complaints(chrome) == []
    assert [url for url in requests(chrome) if not url.startswith((server.url, f"blob:{server.url}", "data:"))] == []


def find(chrome: Chrome, selector: str) -> WebElement:
    """The first visible element of ``selector``, which may be about to appear."""

    def visible(driver: Chrome) -> WebElement | None:
        return next((item for item in driver.find_elements(By.CSS_SELECTOR, selector) if item.is_displayed()), None)

    found = WebDriverWait(chrome, DEADLINE).until(visible, f"{selector} is not to be seen")
    assert found is not None
    return found


def wait_for_text(chrome: Chrome, selector: str, text: str) -> None:
    WebDriverWait(chrome, DEADLINE).until(lambda driver: text in find(driver, selector).text, f"no {text!r}")


def screenshot(chrome: Chrome, name: str) -> None:
    """The whole page, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = chrome.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    image = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(image["data"]))


def test_an_image_is_given_its_label(page: Chrome, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(picture(bright="right"))
    page.find_element(By.ID, "file").send_keys(str(image))
    wait_for_text(page, "#predictions h3", "right")
    chances = page.find_elements(By.CSS_SELECTOR, "#predictions .value")
    assert [item.text for item in chances] == ["57.6 %", "21.2 %", "21.2 %"]
    assert find(page, "#predictions .track i").size["width"] > 0
    assert page.execute_script("return document.querySelector('#predictions img').naturalWidth") == 8
    wait_for_text(page, "#live-p95", "ms")
    width: int = page.execute_script("return innerWidth")
    screenshot(page, f"page-{width}")


def test_several_images_at_once_are_each_given_theirs(page: Chrome, tmp_path: Path) -> None:
    for side in ("left", "right"):
        (tmp_path / f"{side}.png").write_bytes(picture(bright=side))
    page.find_element(By.ID, "file").send_keys(f"{tmp_path / 'left.png'}\n{tmp_path / 'right.png'}")
    wait_for_text(page, "#predictions .prediction:nth-child(2) h3", "right")
    assert find(page, "#predictions .prediction:nth-child(1) h3").text == "left"


def test_nothing_is_wider_than_the_screen(page: Chrome) -> None:
    widths: list[int] = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]


def test_the_example_can_be_sent_as_it_is(page: Chrome) -> None:
    find(page, "#tab-json").click()
    find(page, "#send").click()
    wait_for_text(page, "#answer pre", '"model_name": "sides"')


def test_the_report_can_be_opened(page: Chrome) -> None:
    find(page, "nav a[href='report.html']").click()
    assert find(page, "h1").text == "All of it"


def test_an_error_is_said_in_the_servers_words(chrome: Chrome, server: Running, tmp_path: Path) -> None:
    look_as(chrome, *WIDTHS["desktop"])
    visit(chrome, f"{server.url}/")
    file = tmp_path / "notes.png"
    file.write_text("no image")
    chrome.find_element(By.ID, "file").send_keys(str(file))
    wait_for_text(chrome, "#predictions .error", "is not an image in one of PNG")
    find(chrome, "#tab-json").click()
    find(chrome, "#request").clear()
    find(chrome, "#request").send_keys('{"inputs": []}')
    find(chrome, "#send").click()
    wait_for_text(chrome, "#answer .error", "inputs lacks image")
    complaints(chrome)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_like_the_visitors_other_pages(chrome: Chrome, server: Running, scheme: str) -> None:
    look_as(chrome, *WIDTHS["desktop"], scheme)
    visit(chrome, f"{server.url}/docs")
    colour: str = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness < 200) is (scheme == "dark")
    visit(chrome, f"{server.url}/")
    screenshot(chrome, f"page-{scheme}")
    assert complaints(chrome) == []


def test_names_full_of_markup_stay_names(chrome: Chrome, tmp_path: Path) -> None:
    labels = [f"<b onclick=alert(1)>{index}</b>" for index in range(3)]
    folder = write_folder(tmp_path / "model", brighter_side(), name=NASTY, labels=labels)
    image = tmp_path / "image.png"
    image.write_bytes(picture(bright="right"))
    look_as(chrome, *WIDTHS["phone"])
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        visit(chrome, f"{server.url}/")
        assert find(chrome, "h1").text == NASTY
        chrome.find_element(By.ID, "file").send_keys(str(image))
        wait_for_text(chrome, "#predictions h3", labels[1])
        assert complaints(chrome) == []


def test_a_large_input_has_an_example_too(chrome: Chrome, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, identity(["FP32"], ["N", 3, 224, 224]))
    look_as(chrome, *WIDTHS["desktop"])
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        visit(chrome, f"{server.url}/")
        find(chrome, "#send").click()
        wait_for_text(chrome, "#answer pre", f"… {3 * 224 * 224 - 200} more")
        assert complaints(chrome) == []
