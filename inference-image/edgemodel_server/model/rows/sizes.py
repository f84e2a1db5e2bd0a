"""Sizes as expressions: the batch's rows, other sizes that no request of a batch differs in, and their products."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_COUNTER = itertools.count()


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """An unknown whole number. ``batch``: it depends on how many rows the batch has. ``least``: it is at least that;
    None: it may be anything."""

    name: str
    batch: bool = False
    least: int | None = None


Monomial = tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """A polynomial of symbols with whole coefficients: its terms, sorted, none of them zero."""

    terms: tuple[tuple[Monomial, int], ...]

    @classmethod
    def of(cls, terms: Iterable[tuple[Monomial, int]]) -> "Size | int":
        """The sum of ``terms``; an int where no symbol is left."""
        added: dict[Monomial, int] = {}
        for monomial, factor in terms:
            added[monomial] = added.get(monomial, 0) + factor
        kept = tuple(sorted((monomial, factor) for monomial, factor in added.items() if factor))
        if not kept:
            return 0
        if len(kept) == 1 and not kept[0][0]:
            return kept[0][1]
        return cls(kept)

    @classmethod
    def symbol(cls, name: str, *, batch: bool = False, least: int | None = None) -> "Size":
        """The symbol of that name, which is the same wherever it is used."""
        return cls(((((Symbol(name, batch, least)),), 1),))

    @property
    def depends_on_batch(self) -> bool:
        """Whether it differs with the rows of the batch."""
        return any(symbol.batch for monomial, _ in self.terms for symbol in monomial)

    @property
    def least(self) -> int | None:
        """The least that it can be, as far as that is known."""
        total = 0
        for monomial, factor in self.terms:
            value = factor
            for symbol in monomial:
                if symbol.least is None or factor < 0 or symbol.least < 0:
                    return None
                value *= symbol.least
            total += value
        return total

    def __add__(self, other: "AnySize") -> "AnySize":
        return Size.of((*self.terms, *_terms(other)))

    def __mul__(self, other: "AnySize") -> "AnySize":
        return Size.of(
            (tuple(sorted((*one, *two))), factor * times) for one, factor in self.terms for two, times in _terms(other)
        )

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "AnySize":
        return self * -1

    def __sub__(self, other: "AnySize") -> "AnySize":
        return self + -other

    def __rsub__(self, other: int) -> "AnySize":
        return -self + other


AnySize = Size | int

N = Size.symbol("n", batch=True, least=1)
"""The rows of the batch."""


def unknown(*, batch: bool = False, least: int | None = None) -> Size:
    """A size of which nothing else is known, and which is equal to no other."""
    return Size.symbol(f"?{next(_COUNTER)}", batch=batch, least=least)


def depends_on_batch(value: Any) -> bool:
    """Whether an element of a tensor of sizes differs with the rows of the batch."""
    return isinstance(value, Size) and value.depends_on_batch


def divide(size: AnySize, divisor: AnySize) -> AnySize | None:
    """The quotient where it is exact for all values of the symbols but zeros of the divisor; None: it may not be."""
    above, below = _terms(size), _terms(divisor)
    if not below:
        return None
    if not above:
        return 0
    quotient: list[tuple[Monomial, int]] = []
    rest: AnySize = size
    # Long division by the leading term. The order of monomials makes it end; what is left over means: not exact.
    (lead, lead_factor), *_ = sorted(below, key=_rank, reverse=True)
    for _ in range(len(above) * 4):
        if rest == 0:
            return Size.of(quotient)
        (monomial, factor), *_ = sorted(_terms(rest), key=_rank, reverse=True)
        left = _without(monomial, lead)
        if left is None or factor % lead_factor:
            return None
        step = (left, factor // lead_factor)
        quotient.append(step)
        rest = rest - Size.of([step]) * divisor
    return None


def product(sizes: Iterable[AnySize]) -> AnySize:
    """The product of sizes; 1 of none."""
    result: AnySize = 1
    for size in sizes:
        result = result * size
    return result


def numbers(sizes: Iterable[Any]) -> list[int] | None:
    """``sizes`` as numbers; None where one of them is not known."""
    found = list(sizes)
    return None if any(isinstance(size, Size) for size in found) else [int(size) for size in found]


def equal(one: Any, other: Any) -> bool | None:
    """Whether two sizes, or numbers, are the same; None: that depends."""
    if not isinstance(one, Size) and not isinstance(other, Size):
        return bool(one == other)
    if isinstance(one, float) or isinstance(other, float):
        return None
    difference = one - other
    if isinstance(difference, int):
        return difference == 0
    for sign in (difference, -difference):
        if isinstance(sign, Size) and (least := sign.least) is not None and least > 0:
            return False
    return None


def _terms(size: AnySize) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Size):
        return size.terms
    return (((), int(size)),) if size else ()


def _rank(term: tuple[Monomial, int]) -> tuple[int, Monomial]:
    return len(term[0]), term[0]


def _without(monomial: Monomial, part: Monomial) -> Monomial | None:
    """The symbols left when those of ``part`` are taken out; None where not all are there."""
    left = list(monomial)
    for symbol in part:
        if symbol not in left:
            return None
        left.remove(symbol)
    return tuple(left)
