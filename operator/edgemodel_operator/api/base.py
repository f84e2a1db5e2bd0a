"""What all parts of the resource have in common."""

from typing import ClassVar

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all parts: frozen, keyword-only, camelCase in JSON.

    ``RULES`` are CEL rules over the object, as (rule, message) pairs. Servers before 1.25 ignore them, so
    ``policy.validation`` checks the same again.
    """

    RULES: ClassVar[tuple[tuple[str, str], ...]] = ()
