"""Waves: which sites may have the new version now."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_operator.api import Rollout
from edgemodel_operator.plan.policy.rollout import Admission, SiteProgress, admit, failure_budget, wave_sizes
from tests.unit.operator.builders import NOW, after

OLD, CUT = "old", "cut"
ROLLING, FAILED = "rolling", "failed"


def site(name: str, state: str | float) -> SiteProgress:
    """``old``, ``rolling``, ``failed``, ``cut`` (without a link, not updated), or settled so many seconds after NOW."""
    if isinstance(state, str):
        return SiteProgress(name, state in (ROLLING, FAILED), None, connected=state != CUT, failed=state == FAILED)
    return SiteProgress(name, updated=True, settled_at=after(state))


def admitted(
    states: list[str | float],
    waves: tuple[int | str, ...] = (1, "50%", "100%"),
    soak: float = 0,
    *,
    paused: bool = False,
    may_fail: int | str = 0,
) -> Admission:
    sites = [site(chr(ord("a") + place), state) for place, state in enumerate(states)]
    return admit(sites, Rollout(waves=waves, soak=soak, paused=paused, max_failed_sites=may_fail), NOW)


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
    assert found.soak_until is None


def test_a_site_that_has_the_version_and_lost_its_link_is_not_waited_for() -> None:
    sites = [SiteProgress("a", updated=True, settled_at=None, connected=False), site("b", OLD)]
    assert admit(sites, Rollout(waves=(1, "100%")), NOW).sites == {"a", "b"}


def test_a_wave_soaks_before_the_next() -> None:
    found = admitted([-10, OLD, OLD], soak=30)
    assert (found.sites, found.state, found.soak_until) == (frozenset("a"), "Soaking", after(20))
    assert admitted([-30, OLD, OLD], soak=30).sites == {"a", "b"}


def test_the_last_wave_does_not_soak() -> None:
    found = admitted([0, 0, 0], soak=3600)
    assert (found.sites, found.state, found.soak_until) == (frozenset("abc"), "Complete", None)


def test_the_soak_counts_from_the_last_site_of_the_wave() -> None:
    found = admitted([-100, -10, OLD, OLD], waves=(2, "100%"), soak=60)
    assert (found.sites, found.soak_until) == (frozenset("ab"), after(50))


@pytest.mark.parametrize(("states", "names"), [([0, ROLLING, OLD, OLD], "ab"), ([OLD, OLD], "")])
def test_paused_admits_nobody_new(states: list[str | float], names: str) -> None:
    found = admitted(states, paused=True)
    assert (found.sites, found.state) == (frozenset(names), "Paused")


def test_what_is_everywhere_cannot_be_paused() -> None:
    assert admitted([0, 0], paused=True).state == "Complete"
    assert admitted([0, ROLLING], paused=True).state == "Progressing"


@pytest.mark.parametrize(
    ("states", "may_fail", "names", "state"),
    [
        ([FAILED, OLD, OLD, OLD], 0, "a", "Stopped"),
        ([FAILED, OLD, OLD, OLD], 1, "ab", "Progressing"),
        ([FAILED, 0, OLD, OLD], 1, "abcd", "Progressing"),
        ([FAILED, FAILED, OLD, OLD], 1, "ab", "Stopped"),
        ([FAILED, FAILED, OLD, OLD], "50%", "abcd", "Progressing"),
        ([FAILED, FAILED, OLD, OLD], "49%", "ab", "Stopped"),
        # Who is asked already is not taken back, whatever happens elsewhere.
        ([FAILED, 0, ROLLING, OLD], 0, "abc", "Stopped"),
        ([FAILED, 0, 0, 0], 1, "abcd", "Complete"),
        ([FAILED, 0, 0, 0], 0, "abcd", "Stopped"),
    ],
)
def test_sites_that_fail_are_passed_over_until_too_many_have(
    states: list[str | float], may_fail: int | str, names: str, state: str
) -> None:
    found = admitted(states, may_fail=may_fail)
    assert (found.sites, found.state) == (frozenset(names), state)


def test_a_wave_of_which_nothing_stands_does_not_soak() -> None:
    found = admitted([FAILED, OLD, OLD, OLD], soak=300, may_fail=1)
    assert (found.sites, found.state, found.soak_until) == (frozenset("ab"), "Progressing", None)
    cut = [SiteProgress("a", updated=True, settled_at=None, connected=False), site("b", OLD), site("c", OLD)]
    assert admit(cut, Rollout(waves=(1, 2), soak=300), NOW).soak_until is None


def test_a_site_that_stands_has_not_failed_whatever_its_deployment_waits_for() -> None:
    """A replica more than the least, for which there is no room."""
    sites = [SiteProgress("a", updated=True, settled_at=after(-1), failed=True), site("b", OLD)]
    found = admit(sites, Rollout(), NOW)
    assert (found.sites, found.state, found.failed) == (frozenset("ab"), "Progressing", ())


def test_a_site_that_is_cut_off_has_not_failed() -> None:
    """Its Deployment's deadline passes while nobody can report that the servers are there."""
    sites = [SiteProgress("a", updated=True, settled_at=None, connected=False, failed=True), site("b", OLD)]
    found = admit(sites, Rollout(), NOW)
    assert (found.sites, found.failed) == (frozenset("ab"), ())


@pytest.mark.parametrize(
    ("states", "wave", "state"),
    [
        ([OLD, OLD, OLD, OLD], 1, "Progressing"),
        ([0, ROLLING, OLD, OLD], 2, "Progressing"),
        ([0, 0, ROLLING, OLD], 3, "Progressing"),
        ([0, 0, 0, 0], 3, "Complete"),
    ],
)
def test_how_far_a_rollout_is(states: list[str | float], wave: int, state: str) -> None:
    found = admitted(states)
    assert (found.wave, found.of, found.state) == (wave, 3, state)


def test_waves_that_do_not_reach_all_are_followed_by_the_rest() -> None:
    assert admitted([0, OLD, OLD], waves=(1,)).sites == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("waves", "total", "sizes"),
    [
        ((1, "25%", "100%"), 10, [1, 3, 10]),
        ((3, 30), 10, [3, 10]),
        (("1%", 2), 10, [1, 2, 10]),
        (("50%",), 1, [1]),
        (("100%",), 7, [7]),
        ((1, "100%"), 0, []),
    ],
)
def test_the_sizes_of_waves(waves: tuple[int | str, ...], total: int, sizes: list[int]) -> None:
    assert wave_sizes(waves, total) == sizes


@pytest.mark.parametrize(
    ("most", "total", "sites"), [(0, 9, 0), (3, 2, 3), ("10%", 9, 0), ("10%", 10, 1), ("29%", 100, 29)]
)
def test_how_many_sites_may_fail(most: int | str, total: int, sites: int) -> None:
    assert failure_budget(most, total) == sites


states = st.one_of(st.sampled_from([OLD, ROLLING, CUT]), st.integers(-100, 0).map(float))


@given(
    st.lists(states, min_size=1, max_size=12),
    st.lists(st.one_of(st.integers(1, 20), st.integers(1, 100).map(lambda n: f"{n}%")), min_size=1, max_size=4),
    st.integers(0, 60),
    st.sets(st.integers(0, 11), max_size=3),
)
def test_whatever_the_waves_nobody_falls_back_and_the_rollout_ends(
    kinds: list[str | float], waves: list[int | str], soak: int, bad: set[int]
) -> None:
    sites = [site(f"site-{place:02}", state) for place, state in enumerate(kinds)]
    never = {f"site-{place:02}" for place in bad}
    rollout = Rollout(waves=tuple(waves), soak=soak, max_failed_sites=len(never))
    now: datetime = NOW
    for _ in range(len(sites) * 2 + len(waves) + 2):
        found = admit(sites, rollout, now)
        assert {item.name for item in sites if item.updated} <= found.sites, "a wave is never undone"
        assert not [item.name for item in sites if not item.connected and item.name in found.sites]
        assert found.soak_until is None or found.soak_until > now
        now = found.soak_until or now
        sites = [
            SiteProgress(
                item.name, True, None if item.name in never else item.settled_at or now, True, item.name in never
            )
            if item.name in found.sites
            else item
            for item in sites
        ]
    assert all(item.updated for item in sites if item.connected)
    assert admit(sites, rollout, now).state == "Complete"
