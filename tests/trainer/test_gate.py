"""The gate: what passes is better, what is refused is told why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.tasks import GateLimits
from trainer import gate
from trainer.gate import Evidence, Paired


def pairs(both: int = 0, won: int = 0, lost: int = 0, neither: int = 0) -> Paired:
    """Rows that both versions have right, only the candidate, only the live one, and none."""
    candidate = [1.0] * (both + won) + [0.0] * (lost + neither)
    live = [1.0] * both + [0.0] * won + [1.0] * lost + [0.0] * neither
    return Paired(np.array(candidate), np.array(live))


def test_the_first_version_must_beat_the_majority_label() -> None:
    majority = Evidence(kept=pairs(both=60, neither=40), first=True)
    assert not gate.judge(majority).promote
    verdict = gate.judge(Evidence(kept=pairs(both=60, won=40), first=True))
    assert verdict.promote
    assert (verdict.accuracy, verdict.baseline, verdict.n) == (1.0, 0.6, 100)
    assert "beats the majority label's 0.600" in verdict.reason


def test_a_later_version_must_be_better_with_95_percent_confidence() -> None:
    better = gate.judge(Evidence(kept=pairs(both=70, won=10, lost=2, neither=18)))
    assert better.promote
    assert better.ground == "better"
    ahead_by_chance = gate.judge(Evidence(kept=pairs(both=74, won=4, lost=2, neither=20)))
    assert not ahead_by_chance.promote
    assert "does not beat the live version's 0.760 on 100 held-back rows" in ahead_by_chance.reason
    assert "95% are needed" in ahead_by_chance.reason


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_version_that_says_what_the_live_one_says_is_never_promoted(
    both: int, neither: int
) -> None:
    same = pairs(both=both, neither=neither)
    assert not gate.judge(Evidence(kept=same, fresh=same, taught=same)).promote


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
def test_the_share_of_draws_is_that_of_drawing_rows(gains: list[float]) -> None:
    rows = np.array(gains)
    rng = np.random.default_rng(3)
    drawn = rows[rng.integers(0, len(rows), (4_000, len(rows)))].mean(axis=1)
    assert gate.ahead(rows) == pytest.approx(float((drawn > 0).mean()), abs=0.05)
    low = float(np.quantile(drawn, 0.05))
    one_row = 2 / len(rows) + 0.05  # a row that is won, not lost, moves the mean so far
    assert gate.lower_bound(rows, 0.95) == pytest.approx(low, abs=one_row)


def test_a_burst_of_wrong_labels_cannot_outvote_what_was_known_before() -> None:
    # 200 held-back and 1,800 learned poisoned rows, all answered as the poison says.
    poisoned = Evidence(
        kept=pairs(both=60, won=5, lost=45, neither=26),
        fresh=pairs(won=180, neither=20),
        taught=pairs(won=1_700, neither=100),
    )
    verdict = gate.judge(poisoned)
    assert not verdict.promote
    assert verdict.better == 1.0  # counted by heads alone it would have won
    assert "a loss of" in verdict.reason
    assert "cannot be ruled out" in verdict.reason


def test_corrections_that_are_answered_pass_where_nothing_else_gets_worse() -> None:
    kept = pairs(both=130, won=2, lost=2, neither=20)
    repaired = Evidence(kept=kept, taught=pairs(both=3, won=4, neither=1))
    verdict = gate.judge(repaired)
    assert verdict.promote
    assert verdict.ground == "repairs"
    assert "right on 7 of 8 new labels against 3" in verdict.reason

    assert not gate.judge(repaired, GateLimits(repairs=False)).promote
    one_of_many = Evidence(kept=kept, taught=pairs(both=9, won=1))
    assert not gate.judge(one_of_many).promote
    # Labels that were only held back are no repair: the model was not taught them.
    assert not gate.judge(Evidence(kept=kept, fresh=pairs(won=1))).promote
    harmful = Evidence(kept=pairs(both=110, lost=20, neither=24), taught=pairs(won=8))
    assert "a loss of" in gate.judge(harmful).reason


def slice_of(rows: int, chosen: int) -> NDArray[np.bool_]:
    return np.arange(rows) < chosen


def test_a_slice_that_falls_is_refused_by_its_name_though_the_whole_is_better() -> None:
    # The first 40 rows fall by a quarter, all others rise.
    fallen, risen = pairs(both=30, lost=10), pairs(both=100, won=60)
    kept = fallen.and_also(risen)
    evidence = Evidence(kept=kept, slices={"label neutral": slice_of(200, 40)})
    verdict = gate.judge(evidence)
    assert not verdict.promote
    assert verdict.reason == "label neutral falls by 0.250 on 40 rows, 0.05 is allowed"
    assert verdict.worst_slices == {"label neutral": -0.25}
    assert gate.judge(evidence, GateLimits(max_slice_fall=0.3)).promote


def test_a_slice_that_is_small_or_moves_by_chance_refuses_nothing() -> None:
    kept = pairs(both=10, lost=3, won=1).and_also(pairs(both=126, won=60))
    assert gate.judge(Evidence(kept=kept, slices={"tiny": slice_of(200, 13)})).promote
    chance = pairs(both=20, lost=6, won=4).and_also(pairs(both=110, won=60))
    assert gate.judge(Evidence(kept=chance, slices={"some": slice_of(200, 30)})).promote


def test_what_serves_badly_or_slowly_is_refused_with_the_figure() -> None:
    better = pairs(both=50, won=50)
    slow = gate.judge(Evidence(kept=better, slowdown=2.1, agreement=0.97))
    assert not slow.promote
    assert "0.9700 of the rows, 0.99 is needed" in slow.reason
    assert "2.10 times as long as the live version, 1.5 is allowed" in slow.reason
    late = gate.judge(Evidence(kept=better, p99_ms=31.0), GateLimits(max_p99_ms=20))
    assert late.refusals == ["takes 31.0 ms for a text at p99, 20 ms is allowed"]


def test_without_rows_nothing_is_promoted() -> None:
    assert not gate.judge(Evidence(kept=Paired.none(), taught=pairs(won=9))).promote
