"""Valid exchanges, damaged at random: 50,000 of each kind in the long run."""

from random import Random

from tests.abuse.watch import Watch
from tests.fuzz.connections import fuzz


def test_damaged_exchanges(watch: Watch, long: bool) -> None:
    with watch.attack():
        outcomes = fuzz(watch.target, 50_000 if long else 300, Random(1))  # noqa: S311
    # Some of them are still valid, most are not.
    assert outcomes["HTTP 200"]
    assert outcomes["HTTP 400"]
    assert any(outcome.startswith("gRPC answered") for outcome in outcomes)
