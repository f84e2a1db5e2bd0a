"""Attacks that the server does not withstand yet: how the names of their tests begin. ``--runxfail`` runs them."""

OPEN_FAULTS = (
    "test_lists_of_numbers_of_many_clients",
    "test_answers_that_are_much_larger_than_their_requests",
)
