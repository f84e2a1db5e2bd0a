"""A headless Chromium, driven over WebDriver; installed from Debian's packages where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tools.localcluster.programs import packages
from tools.localcluster.system.progress import Progress

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVERS = ("chromedriver",)
DEBIAN_PACKAGES = ("chromium", "chromium-driver", "fonts-dejavu-core")


def install(log: Path) -> tuple[str, str]:
    """The paths of browser and driver. Raises ClusterError where they are missing and cannot be installed."""
    if find_program(BROWSERS) is None or find_program(DRIVERS) is None:
        packages.install(DEBIAN_PACKAGES, Progress(), log)
    browser, driver = find_program(BROWSERS), find_program(DRIVERS)
    if browser is None or driver is None:
        raise FileNotFoundError(f"no {BROWSERS[0]} or no {DRIVERS[0]} after installing {', '.join(DEBIAN_PACKAGES)}")
    return browser, driver


def find_program(names: tuple[str, ...]) -> str | None:
    """The path of the first of ``names`` that is installed."""
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def browse(folder: Path) -> Iterator[Chrome]:
    """A browser with an empty profile below ``folder``."""
    browser, driver = install(folder / "apt.log")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options, ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def look_as(chrome: Chrome, width: int, height: int, scheme: str = "light") -> None:
    """Show pages as on a screen of that size, in CSS pixels; below 600 as a phone. ``scheme``: light or dark."""
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def visit(chrome: Chrome, url: str) -> None:
    """Open ``url``; what the page before it said or asked for is forgotten."""
    chrome.get("about:blank")
    complaints(chrome)
    requests(chrome)
    chrome.get(url)


def complaints(chrome: Chrome) -> list[str]:
    """What the browser's console said since the last call: script errors, violations of the page's policy."""
    return [entry["message"] for entry in chrome.get_log("browser")]  # type: ignore[no-untyped-call]


def requests(chrome: Chrome) -> list[str]:
    """The URLs that pages asked for since the last call."""
    events: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"]
        for entry in chrome.get_log("performance")  # type: ignore[no-untyped-call]
    ]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
