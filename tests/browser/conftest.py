"""One browser for all tests: it starts once, with a profile of its own."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from tests.browser.chromium import browse


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browse(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome
