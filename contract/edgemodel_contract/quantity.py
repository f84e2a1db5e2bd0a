"""The quantities that people write in an EdgeModel: sizes, durations and percentages.

Sizes follow the Kubernetes quantity suffixes, durations those of Go's ``time.ParseDuration``.
"""

import re
from decimal import Decimal

SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$"
PERCENT_PATTERN = r"^[0-9]+(\.[0-9]+)?%$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
CPU_PATTERN = r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$"

_QUANTITY = re.compile(
    r"^(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE]|)$"
)
_FACTORS = (
    {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000)}
    | {letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)}
    | {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
)
_SIZE = {
    None: 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_SECONDS = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}


def _number(match: re.Match[str]) -> Decimal:
    return Decimal(re.match(r"[0-9]+(\.[0-9]+)?", match.string).group())  # type: ignore[union-attr]


def parse_size(text: str) -> int:
    """``"8Mi"`` → 8388608 bytes. Raises ValueError with an example for anything else."""
    match = re.match(SIZE_PATTERN, text)
    if not match:
        raise ValueError(f"{text!r} is not a size: write it like 8Mi, 500Ki or 1.5G")
    return int(_number(match) * _SIZE[match.group(2)])


def parse_quantity(text: str) -> Decimal:
    """``"1.5Gi"`` → 1610612736: a Kubernetes resource.Quantity, with its binary, decimal and exponent suffixes.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a quantity: write it like 500m, 2 or 1.5Gi")
    number, suffix = Decimal(match.group("number")), match.group("suffix")
    return number * _FACTORS[suffix] if suffix in _FACTORS else number.scaleb(int(suffix[1:]))


def parse_duration(text: str) -> float:
    """``"10ms"`` → 0.01 seconds. Raises ValueError with an example for anything else."""
    match = re.match(DURATION_PATTERN, text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: write it like 10ms, 1.5s or 2m")
    return float(_number(match) * _SECONDS[match.group(2)])


def parse_percent(text: str) -> float:
    """``"1%"`` → 0.01. Raises ValueError with an example for anything else."""
    match = re.match(PERCENT_PATTERN, text)
    if not match:
        raise ValueError(f"{text!r} is not a percentage: write it like 1% or 0.5%")
    return float(_number(match) / 100)


def parse_cpu(text: str) -> float:
    """``"500m"`` → 0.5 cores. Raises ValueError with an example for anything else."""
    if not re.match(CPU_PATTERN, text):
        raise ValueError(f"{text!r} is not a number of CPUs: write it like 500m, 1 or 1.5")
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def format_megabytes(size: int) -> str:
    """Bytes as decimal megabytes with one digit, as registries and file managers show them."""
    return f"{size / 1e6:.1f}"


def format_size(size: int) -> str:
    """Bytes with three digits, in the unit a person would choose."""
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def format_duration(seconds: float) -> str:
    """Seconds with three significant digits in the unit a person would choose; less than a tenth of a nanosecond is
    nothing, for no exponent is written.
    """
    if abs(seconds) < 1e-10:
        return "0us"
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        # By what is written, not by what it was: 999.6 ms is 1 s. Below a picosecond there is nothing to say.
        text = format_number(round(seconds * factor, 6))
        if float(text) < 1000:
            return f"{text}{unit}"
    return f"{format_number(seconds)}s"


def format_number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    return f"{Decimal(f'{value:.3g}'):f}" if value < 999.5 else f"{value:.0f}"
