"""What becomes of a version on trial, in simulated time: on it goes, or it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import rollout
from kernel.evidence import Evidence, divergence
from schemas.events import KernelResult, LabelledExample, ModelState, ModelVersion, ShadowScore
from streams.settings import Settings

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SETTINGS = Settings()
_numbers = count()


def version(
    state: ModelState = "shadow", share: float = 0.0, *, held: bool = False
) -> ModelVersion:
    return ModelVersion(
        id="m",
        task="sentiment",
        version="new",
        state=state,
        labels=["bad", "good"],
        artefact="nowhere",
        digest="0",
        changed_at=NOW,
        share=share,
        held=held,
    )


def pair(
    new: str, live: str, *, error: str = "", cost: float = 5.0, text: str = "", aside: bool = True
) -> ShadowScore:
    number = next(_numbers)
    by, other = ("live", "new") if aside else ("new", "live")
    return ShadowScore(
        id=f"s{number}",
        request_id=f"r{number}",
        task="sentiment",
        thread="T",
        excerpt=text or f"text {number}",
        answered_by=by,
        label=live if aside else new,
        shadowed_by=other,
        shadow_label=new if aside else live,
        error=error,
        cost_ms=5.0 if aside else cost,
        shadow_cost_ms=cost if aside else 5.0,
        scored_at=NOW,
    )


def result() -> KernelResult:
    return KernelResult(
        id=f"a{next(_numbers)}",
        request_id="r",
        task="sentiment",
        thread="T",
        label="good",
        scores={},
        model_version="live",
        precision="fp32",
        excerpt="",
    )


def evidence(*events: ShadowScore | KernelResult | LabelledExample) -> Evidence:
    made = Evidence("sentiment", "new")
    for event in events:
        made.take(event)
    return made


def same(number: int) -> list[ShadowScore]:
    return [pair("good" if n % 3 else "bad", "good" if n % 3 else "bad") for n in range(number)]


def test_a_good_version_goes_from_shadow_by_growing_shares_to_live() -> None:
    seen = evidence(*same(SETTINGS.rollout_answers))
    steps: list[tuple[str, float]] = []
    now = version()
    while not steps or steps[-1][0] != "live":
        decision = rollout.decide(now, seen, 0.0, SETTINGS)
        steps.append((decision.move, decision.share))
        now = version("canary", decision.share)
    assert steps == [("canary", 0.05), ("canary", 0.25), ("canary", 1.0), ("live", 0.0)]


def test_a_quiet_feed_does_not_hold_a_version_up() -> None:
    assert rollout.decide(version(), evidence(), 1.0, SETTINGS).move == "wait"
    later = SETTINGS.rollout_stage_s + 1
    assert rollout.decide(version(), evidence(), later, SETTINGS).move == "canary"
    assert rollout.decide(version("canary", 1.0), evidence(), later, SETTINGS).move == "live"


def test_the_whole_way_takes_less_than_two_minutes_at_default_settings() -> None:
    stages = 1 + len(SETTINGS.canary_shares)
    assert stages * SETTINGS.rollout_stage_s <= 120


def test_a_version_that_answers_nothing_while_others_do_is_refused() -> None:
    busy = evidence(*[result() for _ in range(rollout.PAIRS)])
    soon, late = SETTINGS.rollout_stage_s + 1, SETTINGS.rollout_stage_s * rollout.UNHEARD + 1
    assert rollout.decide(version(), busy, soon, SETTINGS).move == "wait"
    refused = rollout.decide(version(), busy, late, SETTINGS)
    assert refused.move == "refuse"
    assert "no answer by it" in refused.reason


@pytest.mark.parametrize("aside", [True, False])
@pytest.mark.parametrize(
    ("events", "word"),
    [
        ([("bad", "good", {})] * 40, "drift"),
        ([("bad", "good", {}), ("good", "bad", {})] * 30, "agrees"),
        ([("good", "good", {"cost": 20.0})] * 40, "times as long"),
    ],
)
def test_a_version_that_goes_wrong_is_refused_in_shadow_and_in_canary_alike(
    events: list[tuple[str, str, dict[str, float]]], word: str, *, aside: bool
) -> None:
    seen = evidence(
        *[pair(new, live, aside=aside, cost=more.get("cost", 5.0)) for new, live, more in events]
    )
    state: ModelState = "shadow" if aside else "canary"
    decision = rollout.decide(version(state, 0.05, held=True), seen, 0.0, SETTINGS)
    assert decision.move == "refuse", "a hold does not protect what goes wrong"
    assert word in decision.reason


def test_errors_count_by_their_rate_and_one_poisoned_text_does_not() -> None:
    one = evidence(*same(10), pair("", "good", error="NaN"))
    assert rollout.fault(one, SETTINGS) == ""
    many = evidence(*same(50), *[pair("", "good", error="NaN") for _ in range(5)])
    assert "fails on" in rollout.fault(many, SETTINGS)


def test_corrections_that_the_live_version_had_right_refuse_it() -> None:
    pairs = [pair("bad", "good", text=f"text number {n}") for n in range(12)]
    labels = [
        LabelledExample(id=f"l{n}", task="sentiment", text=f"text number {n}", label="good")
        for n in range(12)
    ]
    assert "corrections" in rollout.fault(evidence(*pairs, *labels), SETTINGS)
    others = [
        LabelledExample(id=f"l{n}", task="sentiment", text=f"text number {n}", label="bad")
        for n in range(12)
    ]
    assert rollout.fault(evidence(*pairs, *others), SETTINGS) == "", "here the new one is right"


def test_an_answer_that_is_shadowed_again_after_a_kill_counts_once() -> None:
    score = pair("good", "good")
    assert evidence(score, score).pairs == 1


def test_a_held_version_waits_for_a_person() -> None:
    seen = evidence(*same(SETTINGS.rollout_answers))
    assert rollout.decide(version(held=True), seen, 1e6, SETTINGS).move == "wait"


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(min_value=1, max_value=10**6))


@given(counts, counts)
def test_the_divergence_is_symmetric_and_between_0_and_1_bit(
    one: dict[str, int], other: dict[str, int]
) -> None:
    found = divergence(one, other)
    assert 0 <= found <= 1 + 1e-9
    assert found == pytest.approx(divergence(other, one))
    assert divergence(one, {label: 3 * n for label, n in one.items()}) == pytest.approx(0, abs=1e-9)


def test_disjoint_labels_diverge_by_a_whole_bit() -> None:
    assert divergence({"a": 5}, {"b": 9}) == pytest.approx(1.0)
