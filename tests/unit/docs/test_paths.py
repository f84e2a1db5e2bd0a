"""The documents name files that are there, and link to what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
FILE = re.compile(r"`((?:operator|compression-image|inference-image|contract|tools|tests|manifests)/[\w./-]+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = FILE.findall(document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_source_map_is_read() -> None:
    """The proof that the test before looks at something."""
    assert len(FILE.findall((ROOT / "CONTRIBUTING.md").read_text())) >= 25
