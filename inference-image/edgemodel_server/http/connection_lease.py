"""What one connection counts in the server's budget: itself, and the bytes that it holds beside its requests."""

from collections.abc import Hashable

from edgemodel_server.access.budget import Budget, client_of


class ConnectionLease:
    """The share of a connection from ``address``, host and port; None where it has none of the internet."""

    def __init__(self, budget: Budget, address: tuple[str, int] | None) -> None:
        """A lease that holds nothing yet."""
        self._budget = budget
        self._client = client_of(address[0] if address else "")
        self._connection: Hashable = address or id(self)
        self._lease = budget.lease(self._client, self._connection)

    def open(self) -> bool:
        """Count the connection; False if there are as many as may be. ``close`` is for one that was counted."""
        return self._budget.connections.take(1, self._client, self._connection) is None

    def hold(self, size: int) -> None:
        """Hold ``size`` bytes from now on, instead of what was held before.

        Raises:
            RequestError: there are none for this connection.
        """
        held = self._lease.held
        if size < held:
            self._lease.release(held - size)
        elif size > held:
            self._lease.hold(size - held)

    def close(self) -> None:
        """The connection has ended: give back what it held."""
        self._lease.close()
        self._budget.connections.give(1, self._client, self._connection)
