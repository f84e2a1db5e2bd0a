"""Waves: which sites may have the new version now."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_operator.plan.policy.rollout import Admission, SiteProgress, admit, wave_size
from tests.unit.operator.builders import NOW, after

OLD, CUT = "old", "cut"
ROLLING = "rolling"


def site(name: str, state: str | float) -> SiteProgress:
    """``old``, ``rolling``, ``cut`` (without a link, not updated), or settled so many seconds after NOW."""
    if isinstance(state, str):
        return SiteProgress(name, updated=state == ROLLING, settled_at=None, connected=state != CUT)
    return SiteProgress(name, updated=True, settled_at=after(state))


def admitted(
    states: list[str | float], waves: list[int | str] | None = None, soak: float = 0, *, paused: bool = False
) -> Admission:
    sites = [site(chr(ord("a") + place), state) for place, state in enumerate(states)]
    return admit(sites, waves or [1, "50%", "100%"], timedelta(seconds=soak), paused, NOW)


@pytest.mark.parametrize(
    ("states", "names"),
    [
        ([OLD, OLD, OLD, OLD], "a"),
        ([ROLLING, OLD, OLD, OLD], "a"),
        ([0, OLD, OLD, OLD], "ab"),
        ([0, ROLLING, OLD, OLD], "ab"),
        ([0, 0, OLD, OLD], "abcd"),
        ([0, 0, 0, 0], "abcd"),
        # Sites that have the version already, wherever they stand, are part of the waves.
        ([OLD, OLD, 0, OLD], "ac"),
        ([OLD, ROLLING, OLD, OLD], "b"),
        ([OLD, ROLLING, ROLLING, ROLLING], "bcd"),
        # Sites without their link are neither updated nor waited for.
        ([CUT, OLD, OLD, OLD], "b"),
        ([CUT, 0, OLD, OLD], "bc"),
        ([CUT, 0, 0, 0], "bcd"),
        ([CUT, CUT], ""),
        ([], ""),
    ],
)
def test_a_wave_starts_when_the_one_before_stands(states: list[str | float], names: str) -> None:
    found = admitted(states)
    assert "".join(sorted(found.sites)) == names
    assert found.recheck_at is None


def test_a_site_that_has_the_version_and_lost_its_link_is_not_waited_for() -> None:
    sites = [SiteProgress("a", updated=True, settled_at=None, connected=False), site("b", OLD)]
    assert admit(sites, [1, "100%"], timedelta(0), False, NOW).sites == {"a", "b"}


def test_a_wave_soaks_before_the_next() -> None:
    assert admitted([-10, OLD, OLD], soak=30) == Admission(frozenset("a"), recheck_at=after(20))
    assert admitted([-30, OLD, OLD], soak=30).sites == {"a", "b"}


def test_the_last_wave_does_not_soak() -> None:
    assert admitted([0, 0, 0], soak=3600) == Admission(frozenset("abc"))


def test_the_soak_counts_from_the_last_site_of_the_wave() -> None:
    found = admitted([-100, -10, OLD, OLD], waves=[2, "100%"], soak=60)
    assert found == Admission(frozenset("ab"), recheck_at=after(50))


def test_paused_admits_nobody_new() -> None:
    assert admitted([0, ROLLING, OLD, OLD], paused=True) == Admission(frozenset("ab"))
    assert admitted([OLD, OLD], paused=True) == Admission(frozenset())


def test_waves_that_do_not_reach_all_are_followed_by_the_rest() -> None:
    assert admitted([0, OLD, OLD], waves=[1]).sites == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("wave", "total", "size"),
    [(1, 10, 1), (3, 10, 3), (30, 10, 10), ("25%", 10, 3), ("1%", 10, 1), ("100%", 7, 7), ("50%", 1, 1)],
)
def test_the_size_of_a_wave(wave: int | str, total: int, size: int) -> None:
    assert wave_size(wave, total) == size


states = st.one_of(st.sampled_from([OLD, ROLLING, CUT]), st.integers(-100, 0).map(float))


@given(
    st.lists(states, min_size=1, max_size=12),
    st.lists(st.one_of(st.integers(1, 20), st.integers(1, 100).map(lambda n: f"{n}%")), min_size=1, max_size=4),
    st.integers(0, 60),
)
def test_whatever_the_waves_nobody_falls_back_and_the_rollout_ends(
    kinds: list[str | float], waves: list[int | str], soak: int
) -> None:
    sites = [site(f"site-{place:02}", state) for place, state in enumerate(kinds)]
    now: datetime = NOW
    for _ in range(len(sites) * 2 + len(waves) + 2):
        found = admit(sites, waves, timedelta(seconds=soak), False, now)
        assert {item.name for item in sites if item.updated} <= found.sites, "a wave is never undone"
        assert not [item.name for item in sites if not item.connected and item.name in found.sites]
        assert found.recheck_at is None or found.recheck_at > now
        now = found.recheck_at or now
        sites = [
            SiteProgress(item.name, True, item.settled_at or now, True) if item.name in found.sites else item
            for item in sites
        ]
    assert all(item.updated for item in sites if item.connected)
