"""The page and the API's description below a path of somebody else's server: the nginx of Debian's packages."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.abuse.nginx import proxying
from tests.browser.chromium import complaints, look_as, requests, visit
from tests.browser.test_page import DEADLINE, WIDTHS, find, wait_for_text
from tests.unit.server.builders import brighter_side, write_folder
from tests.unit.server.test_page import put_beside
from tests.unit.server.test_predict import picture
from tests.unit.server.test_process import running

PREFIX = "/models/digits/"


class Links(HTMLParser):
    """The targets of a document's links, but for those within it."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href") or ""
        if tag == "a" and not target.startswith("#"):
            self.found.add(target)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address as its visitors know it."""
    folder = tmp_path_factory.mktemp("model")
    write_folder(folder, brighter_side(), name="sides", labels=["left", "right", "neither"])
    put_beside(folder, report_html=b"<h1>All of it</h1>")
    with (
        running(folder, EDGEMODEL_DRAIN="0s") as server,
        proxying(server.ready["port"], tmp_path_factory.mktemp("proxy") / "nginx", PREFIX) as port,
    ):
        yield f"http://127.0.0.1:{port}{PREFIX}"


def test_every_link_leads_below_the_path_and_to_something(base: str) -> None:
    with httpx.Client(timeout=DEADLINE) as client:
        seen: set[str] = set()
        for page in (base, f"{base}docs"):
            for target in Links(client.get(page).raise_for_status().text).found:
                url = urljoin(page, target)
                assert url.startswith(base), (page, target)
                client.get(url).raise_for_status()
                seen.add(url.removeprefix(base))
        assert seen == {"", "docs", "metrics", "openapi.json", "report.html"}
        described = client.get(f"{base}openapi.json").json()
        server = urljoin(f"{base}openapi.json", described["servers"][0]["url"])
        assert client.get(f"{server.removesuffix('/')}/v2/health/ready").json() == {"ready": True}
        image = {"image": ("right.png", picture(bright="right"))}
        assert client.post(f"{base}predict", files=image).json()["label"] == "right"


def test_images_and_requests_of_the_page_are_answered(chrome: Chrome, base: str, tmp_path: Path) -> None:
    look_as(chrome, *WIDTHS["desktop"])
    visit(chrome, base)
    image = tmp_path / "image.png"
    image.write_bytes(picture(bright="right"))
    chrome.find_element(By.ID, "file").send_keys(str(image))
    wait_for_text(chrome, "#predictions h3", "right")
    wait_for_text(chrome, "#live-p95", "ms")
    find(chrome, "#tab-json").click()
    find(chrome, "#send").click()
    wait_for_text(chrome, "#answer pre", '"model_name": "sides"')
    asked = [url for url in requests(chrome) if not url.startswith(("data:", "blob:", "about:"))]
    assert asked
    assert all(url.startswith(base) for url in asked), asked
    assert complaints(chrome) == []
