"""What an admission ends with: refused with reasons, or allowed with operations. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .patch import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One answer. Where there are problems the object is refused and the operations don't matter."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()

    @property
    def allowed(self) -> bool:
        """True where nothing speaks against the object."""
        return not self.problems
