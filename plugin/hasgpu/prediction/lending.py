"""What a slice serves where its row lends idle time. Pure.

In such a row whoever has work runs, so its pods together are one queue served at the row's full pace. If each brings
the same part of what a lone pod with all the time could serve within its SLO, the row holds everybody's. A quota is
then a claim on that: of a row of which ``row_percent`` are given away, ``quota / row_percent`` of the lone pod's rate.
The rest of the row is nobody's, which keeps quotas small and leaves time to borrow.
"""

from __future__ import annotations

from dataclasses import replace

from hasgpu.model.capacity import CapacityTable
from hasgpu.model.units import MIN_TIME_QUOTA_PERCENT

Grid = tuple[tuple[float, ...], ...]


def lent_table(table: CapacityTable, row_percent: int) -> CapacityTable:
    """The table of the same pods in rows that lend."""
    quotas = range(101)
    return replace(
        table,
        requests_per_s=_claims(table.requests_per_s, row_percent),
        shared_requests_per_s=_claims(table.shared_requests_per_s, row_percent),
        latency_s=tuple(
            tuple(line[100] if quota >= MIN_TIME_QUOTA_PERCENT else line[quota] for quota in quotas)
            for line in table.latency_s
        ),
    )


def _claims(grid: Grid, row_percent: int) -> Grid:
    return tuple(
        tuple(
            line[100] * min(1.0, quota / row_percent) if quota >= MIN_TIME_QUOTA_PERCENT else 0.0
            for quota in range(101)
        )
        for line in grid
    )
