"""The quantities that people write in an EdgeModel: sizes, durations and percentages.

Sizes follow the Kubernetes quantity suffixes, durations those of Go's ``time.ParseDuration``.
"""

import re
from decimal import ROUND_UP, Decimal

SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$"
PERCENT_PATTERN = r"^[0-9]+(\.[0-9]+)?%$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
CPU_PATTERN = r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$"

_QUANTITY = re.compile(
    r"(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[eE][+-]?[0-9]{1,3}|[KMGTPE]i|[numkMGTPE]|)"
)
_FACTORS = (
    {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000)}
    | {letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)}
    | {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_FINEST = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)
_SECONDS = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}


def parse_quantity(text: str) -> Decimal:
    """``"1.5Gi"`` → 1610612736: a Kubernetes resource.Quantity, with its binary, decimal and exponent suffixes. As
    there, what is finer than a billionth is rounded away from zero, and binary ones end at 2^63-1.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a quantity: write it like 500m, 2 or 1.5Gi")
    number, suffix = Decimal(match.group("number")), match.group("suffix")
    value = number * _FACTORS[suffix] if suffix in _FACTORS else number.scaleb(int(suffix[1:]))
    if suffix.endswith("i"):
        value = max(-_LARGEST, min(value, _LARGEST))
    exponent = value.as_tuple().exponent
    return value.quantize(_FINEST, ROUND_UP) if isinstance(exponent, int) and exponent < -9 else value


def parse_size(text: str) -> int:
    """``"8Mi"`` → 8388608 bytes. Raises ValueError with an example for anything else."""
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError(f"{text!r} is not a size: write it like 8Mi, 500Ki or 1.5G")
    return int(parse_quantity(text))


def parse_duration(text: str) -> float:
    """``"10ms"`` → 0.01 seconds. Raises ValueError with an example for anything else."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: write it like 10ms, 1.5s or 2m")
    return float(Decimal(match.group(1)) * _SECONDS[match.group(2)])


def parse_percent(text: str) -> float:
    """``"1%"`` → 0.01. Raises ValueError with an example for anything else."""
    if not re.fullmatch(PERCENT_PATTERN, text):
        raise ValueError(f"{text!r} is not a percentage: write it like 1% or 0.5%")
    return float(Decimal(text[:-1]) / 100)


def parse_cpu(text: str) -> float:
    """``"500m"`` → 0.5 cores. Raises ValueError with an example for anything else."""
    if not re.fullmatch(CPU_PATTERN, text):
        raise ValueError(f"{text!r} is not a number of CPUs: write it like 500m, 1 or 1.5")
    return float(parse_quantity(text))


def format_megabytes(size: int) -> str:
    """Bytes as decimal megabytes with one digit, as registries and file managers show them."""
    return f"{size / 1e6:.1f}"


def format_size(size: int) -> str:
    """Bytes with three digits, in the unit a person would choose."""
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def format_duration(seconds: float) -> str:
    """Seconds with three significant digits in the unit a person would choose, to the picosecond, without exponent."""
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        # By what is written, not by what it was: 999.6 ms is 1 s. Adding zero turns -0.0 into 0.0.
        text = format_number(round(seconds * factor, 6) + 0.0)
        if float(text) < 1000:
            return f"{text}{unit}"
    return f"{format_number(seconds)}s"


def format_number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    return f"{Decimal(f'{value:.3g}'):f}" if value < 999.5 else f"{value:.0f}"
