"""Process fitter: what can be wrong with its input.

FitError      the caller's data can't be used; the message names file, line and column where there are any
"""

from __future__ import annotations


class FitError(Exception):
    """The data can't be used; the message is for the person who gave it."""
