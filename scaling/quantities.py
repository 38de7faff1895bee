"""Numbers as people write them: `12M`, `3e9`, `1B`, and back."""

from typing import Annotated

from pydantic import BeforeValidator, Field

_SUFFIXES = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}


def parse_quantity(value: object) -> int | float:
    """`12M`, `3e9`, `1B` or a number as a number; anything that is none is an error that says what is accepted."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("expected a quantity such as 12M, 3e9 or 1B")
    if isinstance(value, str):
        text = value.strip().replace("_", "").lower()
        scale = _SUFFIXES.get(text[-1:], 1)
        try:
            value = float(text if scale == 1 else text[:-1]) * scale
        except ValueError:
            raise ValueError("expected a quantity such as 12M, 3e9 or 1B") from None
    return int(value) if float(value).is_integer() else value


def format_quantity(value: float) -> str:
    """Three significant digits with a suffix: 1234567 -> `1.23M`."""
    for suffix, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"


def format_bytes(value: float) -> str:
    """Three significant digits with a suffix of 1024: 1536 -> `1.5 KiB`."""
    for suffix, scale in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g} {suffix}"
    return f"{value:.0f} B"


Count = Annotated[int, BeforeValidator(parse_quantity), Field(gt=0)]
"""A positive whole quantity."""

Amount = Annotated[float, BeforeValidator(parse_quantity), Field(ge=0)]
"""A real quantity, zero allowed."""
