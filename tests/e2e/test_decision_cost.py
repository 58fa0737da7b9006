"""The decision-cost row: its passes are those of a cluster, where pods share rows and some scale out."""

from __future__ import annotations

from e2e.evaluation.data import PRODUCT
from e2e.evaluation.decision_cost import TOGETHER, Leader
from tests.decision.world import table, wish


def test_a_pass_tells_needs_of_shared_rows_and_what_it_decides_is_there_in_the_next() -> None:
    leader = Leader(2 * TOGETHER, TOGETHER, wish(tables={PRODUCT: table()}))
    before = leader.quotas()
    for number in range(3):
        wall_s, cpu_s = leader.decide_all(number)
        assert wall_s > 0.0
        assert cpu_s > 0.0
    after = leader.quotas()
    assert leader.told > 0
    assert sum(after[pod] != quota for pod, quota in before.items() if pod in after) > TOGETHER
    assert not leader.books.over_committed()
