"""The house: rooms that one can look around in, and what builds a release comes from where it says."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAMS = ("contract", "operator", "compression-image", "inference-image", "tools")
MAX_MODULES = 15


def test_no_package_has_more_modules_than_one_can_look_over() -> None:
    counts = Counter(
        file.parent.relative_to(ROOT)
        for program in PROGRAMS
        for file in (ROOT / program).rglob("*.py")
        if file.name != "__init__.py"
    )
    assert len(counts) > 50, "the programs are where this test looks"
    assert {str(folder): count for folder, count in counts.items() if count > MAX_MODULES} == {}


@pytest.mark.parametrize(
    "workflow", sorted((ROOT / ".github" / "workflows").glob("release.y*ml")), ids=lambda p: p.name
)
def test_a_release_is_built_by_actions_that_nobody_can_change(workflow: Path) -> None:
    actions = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert len(actions) > 5
    for action, comment in actions:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}: the comment is what Dependabot reads"
