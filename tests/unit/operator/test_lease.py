"""Operators take turns by a Lease: one writes at a time, whatever stops, sleeps, dies or has another clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemodel_operator.observed import Object
from edgemodel_operator.runtime.lease import LEASE_SECONDS, WRITE_SECONDS, Lease, Turn, claim, read, resignation

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TAKEOVER_SECONDS = 20


def lease(holder: str, version: str = "1") -> Lease:
    return Lease(holder, LEASE_SECONDS, "2026-01-05T12:00:00.000000Z", 3, version)


def test_a_lease_that_nobody_has_is_taken() -> None:
    assert Turn("a").saw(None, 5).step(5) == "acquire"
    assert Turn("a").saw(lease(""), 5).step(5) == "acquire"


def test_a_lease_is_waited_for_until_it_has_not_changed_for_its_time() -> None:
    turn = Turn("a").saw(lease("b"), 5)
    assert turn.saw(lease("b"), 10).step(10) == "wait"
    assert turn.saw(lease("b"), 5 + LEASE_SECONDS).step(5 + LEASE_SECONDS) == "acquire"
    assert turn.saw(lease("b", "2"), 16).step(5 + LEASE_SECONDS) == "wait", "it was renewed meanwhile"


def test_a_container_that_was_restarted_goes_on_with_its_pods_lease() -> None:
    turn = Turn("a").saw(lease("a"), 5)
    assert turn.step(5) == "hold"
    assert turn.seconds_left(5) == 0, "not before the API server has said so"


def test_writing_ends_before_anybody_else_may_begin() -> None:
    turn = Turn("a").saw(None, 0).took(lease("a"), 100)
    assert turn.seconds_left(100) == WRITE_SECONDS
    assert turn.seconds_left(100 + WRITE_SECONDS) == 0
    assert turn.saw(lease("b"), 101).seconds_left(101) == 0
    assert WRITE_SECONDS < LEASE_SECONDS


def test_claims_count_the_changes_of_the_holder_and_name_the_version_they_are_about() -> None:
    first = claim(Turn("a"), "system", "turns", NOW)
    assert "resourceVersion" not in first["metadata"]
    assert first["spec"]["leaseTransitions"] == 0
    again = claim(Turn("a").saw(lease("a", "7"), 0), "system", "turns", NOW)
    assert again["metadata"]["resourceVersion"] == "7"
    assert (again["spec"]["leaseTransitions"], again["spec"]["acquireTime"]) == (3, lease("a").acquired)
    taken = claim(Turn("a").saw(lease("b", "8"), 0), "system", "turns", NOW)
    assert taken["spec"]["leaseTransitions"] == 4
    back = resignation(Turn("a").saw(lease("a", "9"), 0), "system", "turns", NOW)
    assert (back["spec"]["holderIdentity"], back["metadata"]["resourceVersion"]) == ("", "9")


@pytest.mark.parametrize("spec", [None, {}, {"holderIdentity": None}, {"holderIdentity": "b"}])
def test_a_lease_that_somebody_left_empty_is_an_expired_one(spec: Object | None) -> None:
    raw = {"metadata": {"resourceVersion": "1"}} | ({} if spec is None else {"spec": spec})
    assert Turn("a").saw(read(raw), 0).step(0) == "acquire"


@dataclass
class Server:
    """An API server: one object, and only the writer of its present version may replace it."""

    raw: Object | None = None
    version: int = 0

    def write(self, obj: Object) -> Object | None:
        known = obj["metadata"].get("resourceVersion")
        if known != (None if self.raw is None else str(self.version)):
            return None
        self.version += 1
        self.raw = obj | {"metadata": obj["metadata"] | {"resourceVersion": str(self.version)}}
        return self.raw


@dataclass
class Process:
    """An operator whose clock runs ``ahead`` of the world's. A renewal may be under way while it is stopped."""

    turn: Turn
    ahead: float
    stopped_until: float = 0.0
    next_step: float = 0.0
    answer: tuple[Lease, float] | None = None
    """What the server answered and when it had been asked, not read yet."""
    writes: list[float] = field(default_factory=list)

    def run(self, server: Server, now: float, latency: float) -> None:
        """What the process does at ``now``, unless it is stopped: as `Leadership.run` does."""
        if now < self.stopped_until:
            return
        mine = now + self.ahead
        if self.answer is not None:
            self.turn, self.answer = self.turn.took(*self.answer), None
        if self.turn.seconds_left(mine) > 0:
            self.writes.append(now)
        if now < self.next_step:
            return
        if self.turn.renewed is None or self.turn.seconds_left(mine) == 0:
            self.turn = self.turn.saw(None if server.raw is None else read(server.raw), mine)
        if self.turn.step(mine) != "wait":
            taken = server.write(claim(self.turn, "system", "turns", NOW))
            if taken is not None:
                self.answer = (read(taken), mine)
            else:
                self.turn = self.turn.saw(None if server.raw is None else read(server.raw), mine)
        self.next_step = now + self.turn.pause(mine) + latency


STOPS = st.tuples(st.integers(0, 2), st.integers(1, 60))


def advance(server: Server, processes: list[Process], now: float, latency: float) -> list[Process]:
    """Half a second of everybody's life; answers who wrote."""
    before = [len(process.writes) for process in processes]
    for process in processes:
        process.run(server, now, latency)
    return [process for process, count in zip(processes, before, strict=True) if len(process.writes) > count]


@settings(max_examples=50, deadline=None)
@given(
    ahead=st.lists(st.integers(-1000, 1000), min_size=3, max_size=3),
    stops=st.lists(STOPS, min_size=5, max_size=30),
    latency=st.sampled_from([0.0, 0.7, 2.0]),
)
def test_never_do_two_write_and_in_the_end_one_does(
    ahead: list[int], stops: list[tuple[int, int]], latency: float
) -> None:
    server = Server()
    processes = [Process(Turn(f"operator-{n}"), offset) for n, offset in enumerate(ahead)]
    now = 0.0
    for stopped, seconds in stops:
        processes[stopped].stopped_until = now + seconds
        for _ in range(12):
            now += 0.5
            wrote = advance(server, processes, now, latency)
            assert len(wrote) <= 1, f"two wrote at {now}: {wrote}"
    awake = max(process.stopped_until for process in processes)
    while not advance(server, processes, now, latency):
        now += 0.5
        assert now <= awake + TAKEOVER_SECONDS + latency


def test_the_lease_of_a_process_that_is_gone_is_taken_within_20_seconds() -> None:
    server = Server()
    dying, waiting = Process(Turn("a"), 0), Process(Turn("b"), 1000)
    now = 0.0
    while now < 30:
        now += 0.1
        for process in (dying, waiting):
            process.run(server, now, latency=0.5)
    assert dying.writes[-1] == now
    assert not waiting.writes
    dying.stopped_until = float("inf")
    while not waiting.writes:
        now += 0.1
        waiting.run(server, now, latency=0.5)
        assert now - dying.writes[-1] <= TAKEOVER_SECONDS
