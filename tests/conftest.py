"""What all tests share: hypothesis without timing, and golden files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

GOLDEN = Path(__file__).parent / "golden"

# The same examples on every run, so that a pipeline never fails for luck; `--hypothesis-profile=explore` looks further.
settings.register_profile("default", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden instead of comparing with it")
    parser.addoption("--long", action="store_true", help="tests/abuse at full length, with the waits that are promised")
    parser.addoption(
        "--kubernetes",
        choices=("all", "oldest", "current"),
        default="all",
        help="which of them tests/api runs on: the oldest supported version, the one that KUBEBUILDER_ASSETS names",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)`` compares ``text`` with the file ``tests/golden/<name>``."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.write_text(text, encoding="utf-8")
        assert file.exists(), f"{file} is missing: run pytest --update-golden, and read what it wrote"
        assert text == file.read_text(encoding="utf-8"), f"{file} differs: if that is meant, run pytest --update-golden"

    return check
