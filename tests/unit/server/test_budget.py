"""What clients may hold of the server: never more than there is, and never so much that another finds nothing."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_server.access.budget import Budget, Limits, Pool, client_of
from edgemodel_server.errors import (
    BusyDecodingError,
    ClientShareError,
    DeadlineError,
    MemoryFullError,
    OverloadedError,
    TooLargeError,
)

LIMITS = Limits(memory=1200, requests=3, decoding=1.2, connections=6)


@pytest.fixture
def budget() -> Budget:
    return Budget(LIMITS)


TAKES = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 3), st.integers(0, 700), st.booleans()))


@given(TAKES)
def test_never_more_is_held_than_there_is_and_at_the_end_nothing(takes: list[tuple[str, int, int, bool]]) -> None:
    pool = Pool(1000)
    held: list[tuple[int, str, int]] = []
    for client, connection, amount, gives in takes:
        if gives and held:
            pool.give(*held.pop(0))
        if pool.take(amount, client, connection) is None:
            held.append((amount, client, connection))
        assert pool.used == sum(amount for amount, _, _ in held) <= 1000
    for item in held:
        pool.give(*item)
    assert pool.used == 0
    assert pool.take(666, "a", 0) is None


@given(TAKES)
def test_whoever_comes_late_finds_room(takes: list[tuple[str, int, int, bool]]) -> None:
    pool = Pool(1000)
    before = set()
    for client, connection, amount, _ in takes:
        if pool.take(amount, client, connection) is None:
            before.add(client)
    # Each client before it left a third of what it found, whatever it asked for.
    free = 1000 / 3 ** len(before)
    assert pool.take(int(free * 2 / 3), "late", "connection") is None


def test_one_client_alone_has_two_thirds_and_one_connection_of_it_half(budget: Budget) -> None:
    first, second = budget.lease("cam", 1), budget.lease("cam", 2)
    first.hold(600)
    with pytest.raises(ClientShareError, match="read their answers first"):
        budget.lease("cam", 1).hold(1)
    second.hold(200)
    with pytest.raises(ClientShareError) as refused:
        second.hold(1)
    assert refused.value.status == 429
    budget.lease("other", 3).hold(200)


def test_a_client_with_little_is_told_that_the_server_is_full(budget: Budget) -> None:
    budget.lease("a", 1).hold(600)
    budget.lease("b", 2).hold(300)
    with pytest.raises(MemoryFullError, match="try again in a moment") as refused:
        budget.lease("c", 3).hold(301)
    assert refused.value.status == 503


def test_what_could_never_be_held_is_too_large_whoever_holds_how_much(budget: Budget) -> None:
    budget.lease("a", 1).hold(600)
    with pytest.raises(TooLargeError, match="needs 601 bytes of memory at once and may have 600") as refused:
        budget.lease("b", 2).hold(601)
    assert refused.value.status == 413


def test_what_a_request_asks_for_piece_by_piece_is_too_large_as_at_once(budget: Budget) -> None:
    lease = budget.lease("a", 1)
    lease.hold(500)
    with pytest.raises(TooLargeError, match="needs 601 bytes of memory at once and may have 600"):
        lease.hold(101)


def test_nothing_is_taken_for_a_request_that_has_ended(budget: Budget) -> None:
    lease = budget.lease("a", 1)
    lease.hold(100)
    lease.close()
    with pytest.raises(DeadlineError):
        lease.hold(100)
    lease.release(100)
    assert budget.memory.used == 0


def test_a_lease_gives_back_what_it_holds_once(budget: Budget) -> None:
    with budget.lease("a", 1) as lease:
        lease.hold(300)
        lease.hold(200)
        lease.release(100)
        assert lease.held == budget.memory.used == 400
        lease.close()
    assert lease.held == budget.memory.used == 0


def test_a_refusal_takes_nothing(budget: Budget) -> None:
    lease = budget.lease("a", 1)
    for size in (10_000, 601):
        with pytest.raises(TooLargeError):
            lease.hold(size)
    lease.hold(600)


def test_a_client_does_not_fill_the_queue(budget: Budget) -> None:
    lease = budget.lease("a", 1)
    with lease.waiting(), lease.waiting():
        with pytest.raises(ClientShareError, match="share of the queue"), lease.waiting():
            pass
        other, late = budget.lease("b", 2), budget.lease("c", 3)
        with other.waiting(), pytest.raises(OverloadedError, match="3 requests are"), late.waiting():
            pass
    assert budget.requests.used == 0


def test_decoding_ahead_is_bounded_in_time(budget: Budget) -> None:
    lease = budget.lease("a", 1)
    with lease.decoding(0.5):
        with pytest.raises(ClientShareError, match="time for reading bodies"), lease.decoding(0.5):
            pass
        other, late, busy = budget.lease("b", 2), budget.lease("c", 3), r"take about 0\.9 seconds"
        with other.decoding(0.4), pytest.raises(BusyDecodingError, match=busy), late.decoding(0.25):
            pass
    assert budget.decoding.used == 0


def test_an_estimate_keeps_nobody_out_for_good(budget: Budget) -> None:
    with budget.lease("a", 1).decoding(100.0):
        pass


def test_threads_share_a_pool() -> None:
    pool = Pool(1_000_000)

    def use(client: str) -> None:
        for _ in range(2000):
            if pool.take(3, client, client) is None:
                pool.give(3, client, client)

    threads = [threading.Thread(target=use, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.used == 0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_clients_without_keys_are_addresses_or_networks_of_ipv6(address: str, client: str) -> None:
    assert client_of(address) == client
