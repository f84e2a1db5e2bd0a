"""What the harness raises: one sentence that says what, where and what to do next."""

from __future__ import annotations


class ClusterError(Exception):
    """The local cluster cannot do what was asked; the message is for the person at the terminal."""


class NotSupportedError(ClusterError):
    """This provider has no such power over its cluster (for example cutting a site of somebody else's)."""


class CommandFailedError(ClusterError):
    """A program that the harness ran ended with an error."""

    def __init__(self, args: tuple[str, ...], returncode: int, output: str) -> None:
        self.command = args
        self.returncode = returncode
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"`{' '.join(args)}` ended with {returncode}" + (f":\n{tail}" if tail else ""))
