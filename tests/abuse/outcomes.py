"""What a connection that was sent something odd comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.abuse.wire import Answer, NoAnswer, Silence, Wire, infer

SMUGGLED = "smuggled"
"""The id of a request that lies within another: it must never be answered."""
VICTIM = "victim"
"""The id of the request that comes next on the same connection."""


class Outcome(NamedTuple):
    """``answers`` to what was sent; whether the request that came after it on the connection was answered rightly."""

    answers: list[Answer]
    victim_answered: bool
    closed: bool
    silent: bool
    """Neither answered nor closed: the server waits for more."""

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    def __str__(self) -> str:
        shown = ", ".join(f"{answer.status} {answer.body[:80]!r}" for answer in self.answers)
        states = [name for name in ("victim_answered", "closed", "silent") if getattr(self, name)]
        return f"[{shown}] {' '.join(states)}"


def exchange(port: int, content: bytes, *, seconds: float = 5.0) -> Outcome:
    """Send ``content`` at once and, after the first answer, a well-formed request on the same connection."""
    answers: list[Answer] = []
    with Wire(port, seconds) as wire:
        wire.send(content)
        try:
            answers.append(wire.answer())
        except NoAnswer:
            return Outcome(answers, victim_answered=False, closed=True, silent=False)
        except Silence:
            return Outcome(answers, victim_answered=False, closed=False, silent=True)
        wire.send(infer(VICTIM))
        try:
            while len(answers) < 10:
                answer = wire.answer()
                if answer.id == VICTIM:
                    return Outcome(answers, victim_answered=True, closed=False, silent=False)
                answers.append(answer)
        except NoAnswer:
            return Outcome(answers, victim_answered=False, closed=True, silent=False)
        except Silence:
            return Outcome(answers, victim_answered=False, closed=False, silent=True)
    raise AssertionError("more answers than requests")


@dataclass(frozen=True)
class Case:
    """``content`` is sent; ``why`` names what is odd about it."""

    why: str
    content: bytes

    def __str__(self) -> str:
        return self.why
