"""finance.alerts: a burst of negative results about a ticker, against its own baseline.

The rule, over event time. The window is the `WINDOW_MS` up to the newest result of
the ticker; the baseline is what came before it, within `BASELINE_MS`. An alert is
raised when the ticker is armed and

- the window has at least `MIN_COUNT` results, of which at least `MIN_NEGATIVE` and
  `MIN_SHARE` of all are negative,
- its mean score is at most `MAX_MEAN`, and
- it is below the baseline's mean by at least `MIN_Z` standard errors.

Raising disarms. The ticker is armed again, `WINDOW_MS` later at the earliest, once
the window's mean is back above `RECOVERED` or the window has all but emptied.

A late result counts in the window if it lies in it, else in the baseline; the
decision is always about the window that ends with the newest result, so nothing is
raised for a window that has passed.
"""

from __future__ import annotations

from math import sqrt
from typing import ClassVar, Final

import msgspec

from agents.finance.scoring import MICRO, scored, to_time
from agents.runtime import Agent, Context, Emit
from schemas.events import Alert, Headline, KernelResult
from schemas.topics import ALERTS, RESULTS, Topic

WINDOW_MS: Final = 30 * 60_000
"""Half an hour: the time in which a story about one company spreads through a feed."""
BASELINE_MS: Final = 24 * 3_600_000
"""A day: it covers each hour's usual traffic once."""
_GRAIN_MS: Final = 3_600_000
MIN_COUNT: Final = 5
MIN_NEGATIVE: Final = 4
MIN_SHARE: Final = 0.6
"""A story with as much good as bad in it is not a burst."""
MAX_MEAN: Final = -0.35
"""Mean of P(positive) - P(negative): between neutral (0) and surely negative (-1)."""
MIN_Z: Final = 3.0
"""Three standard errors: by chance about once in 700 windows of a steady ticker."""
RECOVERED: Final = -0.15
EMPTIED: Final = 2
PRIOR_COUNT: Final = 8
"""Results that a ticker without a past is taken to have had: neutral on average..."""
PRIOR_VARIANCE: Final = 0.25
"""...and spread like an even mix of calm and outspoken ones."""
MIN_VARIANCE: Final = 0.04
"""A baseline of always the same score does not make the next one a burst."""
MAX_RECENT: Final = 128
"""Results kept of a window: of more, the newest count. Bounds the state to some 30 KB."""
MAX_HEADLINES: Final = 10
_EXCERPT: Final = 160


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """A result within the window."""

    at_ms: int
    micro: int
    negative: bool
    result_id: str
    text: str


Sums = tuple[int, int, float]
"""Count, sum of scores in millionths, sum of squared scores."""


class AlertState(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a ticker."""

    as_of_ms: int
    recent: list[Recent]
    """In order of event time."""
    baseline: dict[int, Sums]
    """By hour since 1970: results that have left the window."""
    raised_ms: int | None = None
    """When the last alert was raised, while the ticker is disarmed."""


class Alerts(Agent[KernelResult, AlertState]):
    """Watches every ticker for negative bursts."""

    name: ClassVar[str] = "finance.alerts"
    source: ClassVar[Topic] = RESULTS
    emits_to: ClassVar[tuple[Topic, ...]] = (ALERTS,)

    @property
    def state_type(self) -> type[AlertState]:
        """State of one ticker."""
        return AlertState

    def thread(self, event: KernelResult, context: Context) -> str:  # noqa: ARG002
        """The ticker."""
        return event.thread

    def process(
        self, event: KernelResult, state: AlertState | None, context: Context
    ) -> tuple[AlertState | None, list[Emit]]:
        """Count the result; raise an alert if it completes a burst."""
        result = scored(event, context)
        if result is None:
            return state, []
        item = Recent(
            result.at_ms,
            result.micro,
            result.label == "negative",
            event.id,
            event.excerpt[:_EXCERPT] if result.label == "negative" else "",
        )
        now = _counted(state or AlertState(item.at_ms, [], {}), item)
        mean = _mean(now.recent)
        raised = now.raised_ms
        if (
            raised is not None
            and now.as_of_ms - raised >= WINDOW_MS
            and (mean > RECOVERED or len(now.recent) <= EMPTIED)
        ):
            raised = None
        if raised is not None or not _is_burst(now.recent, mean, now.baseline):
            return AlertState(now.as_of_ms, now.recent, now.baseline, raised), []
        alert = _alert(result.ticker, now, mean, context)
        after = AlertState(now.as_of_ms, now.recent, now.baseline, now.as_of_ms)
        return after, [Emit(ALERTS, result.ticker, alert)]


def _counted(state: AlertState, item: Recent) -> AlertState:
    as_of = max(state.as_of_ms, item.at_ms)
    recent = [*state.recent, item]
    if item.at_ms < state.as_of_ms:
        recent.sort(key=lambda one: one.at_ms)
    start = as_of - WINDOW_MS
    left = [one for one in recent if one.at_ms <= start]
    kept = recent[len(left) :]
    left += kept[:-MAX_RECENT]
    baseline = state.baseline
    if left:
        oldest = (start - BASELINE_MS) // _GRAIN_MS
        baseline = {hour: sums for hour, sums in baseline.items() if hour > oldest}
        for one in left:
            hour = one.at_ms // _GRAIN_MS
            if hour > oldest:
                count, micro, squares = baseline.get(hour, (0, 0, 0.0))
                score = one.micro / MICRO
                baseline[hour] = (count + 1, micro + one.micro, squares + score * score)
    return AlertState(as_of, kept[-MAX_RECENT:], baseline, state.raised_ms)


def _mean(recent: list[Recent]) -> float:
    return sum(one.micro for one in recent) / len(recent) / MICRO if recent else 0.0


def _is_burst(recent: list[Recent], mean: float, baseline: dict[int, Sums]) -> bool:
    count = len(recent)
    negative = sum(one.negative for one in recent)
    if count < MIN_COUNT or negative < MIN_NEGATIVE or negative < MIN_SHARE * count:
        return False
    if mean > MAX_MEAN:
        return False
    usual, variance, weight = _usual(baseline)
    error = sqrt(variance * (1 / count + 1 / weight))
    return mean <= usual - MIN_Z * error


def _usual(baseline: dict[int, Sums]) -> tuple[float, float, int]:
    """Mean, variance and weight of the baseline, together with the prior."""
    count = sum(sums[0] for sums in baseline.values())
    total = sum(sums[1] for sums in baseline.values()) / MICRO
    squares = sum(sums[2] for sums in baseline.values())
    weight = count + PRIOR_COUNT
    mean = total / weight
    variance = (squares + PRIOR_COUNT * PRIOR_VARIANCE) / weight - mean * mean
    return mean, max(variance, MIN_VARIANCE), weight


def _alert(ticker: str, now: AlertState, mean: float, context: Context) -> Alert:
    worst = sorted((one for one in now.recent if one.negative), key=lambda one: one.micro)
    return Alert(
        id=context.emission_id(0),
        ticker=ticker,
        raised_at=to_time(now.as_of_ms),
        window_s=WINDOW_MS // 1000,
        count=len(now.recent),
        mean=mean,
        baseline_mean=_usual(now.baseline)[0],
        baseline_count=sum(sums[0] for sums in now.baseline.values()),
        headlines=[
            Headline(
                result_id=one.result_id,
                text=one.text,
                score=one.micro / MICRO,
                published_at=to_time(one.at_ms),
            )
            for one in worst[:MAX_HEADLINES]
        ],
        cause=context.cause(0),
    )
