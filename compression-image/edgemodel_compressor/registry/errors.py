"""How a registry fails, before it is known what for: callers turn it into the reason of their own task."""

from typing import Literal

Kind = Literal["Unavailable", "Unauthorized", "NotFound", "Invalid"]


class RegistryError(Exception):
    """The message is a sentence with host and repository, never a secret. ``transient``: worth another try."""

    def __init__(self, kind: Kind, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.transient = transient
