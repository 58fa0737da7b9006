"""Commands of the bed end in their output or in one line that names them."""

from __future__ import annotations

import pytest

from e2e.testbed.shell import CommandError, run


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program is not installed"):
        run("no-such-program", "--help")


def test_what_a_command_said_is_in_the_error() -> None:
    with pytest.raises(CommandError, match="No such file"):
        run("ls", "/no/such/folder")
