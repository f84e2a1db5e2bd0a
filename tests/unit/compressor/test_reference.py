"""Image references as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.registry.reference import Repository, parse_reference, parse_repository

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "path", "target"),
    [
        ("127.0.0.1:5000/base:v1", "127.0.0.1:5000", "base", "v1"),
        ("registry.example.com/a/b-c/d", "registry.example.com", "a/b-c/d", "latest"),
        (f"localhost/a@{DIGEST}", "localhost", "a", DIGEST),
        (f"localhost:5000/a:v1@{DIGEST}", "localhost:5000", "a", DIGEST),
        ("python:3.12", "docker.io", "library/python", "3.12"),
        ("team/tool", "docker.io", "team/tool", "latest"),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b"),
    ],
)
def test_references(text: str, host: str, path: str, target: str) -> None:
    reference = parse_reference(text)
    assert (reference.repository, reference.target) == (Repository(host, path), target)
    assert (reference.digest is not None) == ("@" in text)


@pytest.mark.parametrize("text", ["", "/a", "host:5000/UPPER", "host:5000/a:", "a b", "h:1/a@sha256:12", "x/../y"])
def test_what_is_no_reference_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_reference(text)


NAME = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)


@given(st.lists(NAME, min_size=1, max_size=4), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
def test_what_is_printed_reads_back(path: list[str], tag: str) -> None:
    reference = parse_reference(f"registry.example.com:5000/{'/'.join(path)}:{tag}")
    assert parse_reference(str(reference)) == reference
    assert parse_repository(str(reference.repository)) == reference.repository
