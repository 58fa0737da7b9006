"""Kubernetes quantities and Go durations, read exactly as the API server reads them."""

from __future__ import annotations

import re
from fractions import Fraction

_SUFFIX = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d{1,3})|(m|k|M|G|T|P|E|[KMGTPE]i)?)\Z")

_NANOSECONDS = {
    "ns": Fraction(1),
    "us": Fraction(10**3),
    "µs": Fraction(10**3),
    "μs": Fraction(10**3),
    "ms": Fraction(10**6),
    "s": Fraction(10**9),
    "m": Fraction(60 * 10**9),
    "h": Fraction(3600 * 10**9),
}
_DURATION_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_bytes(text: str) -> int:
    """A resource.Quantity in bytes, rounded up as Kubernetes' Value() does; ValueError if it is none."""
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"not a Kubernetes quantity: {text!r}")
    number, exponent, suffix = match.groups()
    value = Fraction(number) * (Fraction(10) ** int(exponent[1:]) if exponent else _SUFFIX[suffix or ""])
    return -((-value.numerator) // value.denominator)


def format_bytes(value: int) -> str:
    """The shortest exact binary quantity, e.g. ``4Gi``."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIX[suffix])
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)


def parse_duration_ns(text: str) -> int:
    """Go's time.ParseDuration in nanoseconds (``1m30s``, ``200ms``, ``0``, ``-1.5h``); ValueError if it is none."""
    body = text[1:] if text[:1] in "+-" and text else text
    if body == "0":
        return 0
    total, position = Fraction(0), 0
    while position < len(body):
        term = _DURATION_TERM.match(body, position)
        if term is None:
            break
        total += Fraction(term[1]) * _NANOSECONDS[term[2]]
        position = term.end()
    if not body or position != len(body) or total >= 2**63:
        raise ValueError(f"not a duration: {text!r}")
    nanoseconds = total.numerator // total.denominator
    return -nanoseconds if text[0] == "-" else nanoseconds


def parse_duration_s(text: str) -> float:
    """The same in seconds."""
    return parse_duration_ns(text) / 1e9
