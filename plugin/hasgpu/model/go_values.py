"""Numbers and truths as Go's strconv reads them: what Knative's annotations and ConfigMaps are written in.

Python's own parsers accept spaces and other digits, and refuse hexadecimal floats; Go allows underscores between the
digits of a float, not of an integer. Durations are in ``quantity``.
"""

from __future__ import annotations

import math
import re

_INT = re.compile(r"[+-]?[0-9]+\Z")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
_HEX = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+(\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+\Z")
_SEPARATOR = re.compile(r"(?<=[0-9])_(?=[0-9])")
_HEX_SEPARATOR = re.compile(r"(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])")
_NAMED = re.compile(r"([+-]?(inf|infinity)|nan)\Z", re.IGNORECASE)
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def parse_int32(text: str) -> int:
    """strconv.ParseInt(text, 10, 32); ValueError if it is none."""
    value = int(text) if _INT.match(text) else None
    if value is None or not -(2**31) <= value < 2**31:
        raise ValueError(f"not a whole number of 32 bits: {text!r}")
    return value


def parse_float(text: str) -> float:
    """strconv.ParseFloat(text, 64); ValueError if it is none or too large."""
    if _HEX.match(digits := _HEX_SEPARATOR.sub("", text)):
        try:
            return float.fromhex(digits)
        except OverflowError as error:
            raise ValueError(f"not a number of 64 bits: {text!r}") from error
    if _NAMED.match(text):
        return float(text)
    digits = _SEPARATOR.sub("", text)
    value = float(digits) if _DECIMAL.match(digits) else math.inf
    if math.isinf(value):
        raise ValueError(f"not a number of 64 bits: {text!r}")
    return value


def parse_bool(text: str) -> bool:
    """strconv.ParseBool; ValueError if it is none."""
    try:
        return _BOOLEANS[text]
    except KeyError as error:
        raise ValueError(f"neither true nor false: {text!r}") from error


def within_int32(value: float) -> float:
    """What an int32 can hold, the nearest to ``value``: settings may be infinite. NaN is the least, as on amd64."""
    return min(value, _INT32_MAX) if value > _INT32_MIN else _INT32_MIN


def round_half_away(value: float) -> int:
    """math.Round: halves away from zero, where Python's ``round`` takes the even neighbour."""
    whole = math.floor(abs(value))
    if abs(value) - whole >= 0.5:
        whole += 1
    return whole if value >= 0 else -whole
