"""Which Kubernetes versions the api tests run on, and what is said of the others."""

from __future__ import annotations

import pytest

from tests.api.versions import NoVersionError, choose

BOTH = {"KUBEBUILDER_ASSETS": "/opt/assets"}


def test_all_that_is_here_runs() -> None:
    assert choose("all", BOTH, None).chosen == ("oldest", "current")
    assert choose("all", {}, None).chosen == ("oldest",)
    assert choose("all", BOTH, "This is no Debian.").chosen == ("current",)


def test_one_can_be_asked_for() -> None:
    assert choose("current", BOTH, None).chosen == ("current",)
    assert choose("oldest", BOTH, None).chosen == ("oldest",)


def test_one_that_is_asked_for_and_not_here_is_an_error() -> None:
    with pytest.raises(NoVersionError, match="--kubernetes current: Set KUBEBUILDER_ASSETS"):
        choose("current", {}, None)
    with pytest.raises(NoVersionError, match="--kubernetes oldest: This is no Debian"):
        choose("oldest", BOTH, "This is no Debian.")
    with pytest.raises(NoVersionError, match="No Kubernetes to test against"):
        choose("all", {}, "This is no Debian.")


def test_the_summary_names_what_ran_and_shouts_what_did_not() -> None:
    versions = choose("all", {}, None)
    versions.names["oldest"] = "1.20.2"
    versions.outcomes["oldest"].update(passed=130, failed=1)
    ran, missing = versions.summary()
    assert ran == ("Kubernetes 1.20.2 (oldest): 1 failed, 130 passed", False)
    assert missing[0].startswith("Kubernetes current: NOT RUN. Set KUBEBUILDER_ASSETS")
    assert missing[1]


def test_the_summary_says_that_one_was_left_out_on_purpose() -> None:
    lines = [line for line, _ in choose("current", BOTH, None).summary()]
    assert "Kubernetes oldest: NOT RUN. --kubernetes current leaves it out." in lines
