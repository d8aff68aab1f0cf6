"""What is known about a version on trial: both versions' answers to the same requests. Pure.

Comparing what two versions say to different requests would find differences between the
requests: threads differ. So every answer that counts here was given twice, once aside
(`kernel.shadow`), and the live version is the baseline.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Final

from schemas.events import KernelResult, LabelledExample, ShadowScore
from schemas.limits import EXCERPT_CHARACTERS

_REMEMBERED: Final = 50_000
"""Answers of which a correction can still be recognised, and ids that are counted once."""
_TIMES: Final = 1_000

Asked = tuple[str | None, str]
"""Target, and the first characters of the text: how a correction names an answer."""


class Evidence:
    """The answers of one version on trial, beside those of the live one, since a stage began."""

    def __init__(self, task: str, version: str) -> None:
        self.task = task
        self.version = version
        self.answered = 0
        """Requests of the task that any version answered."""
        self.pairs = 0
        self.agreeing = 0
        self.errors = 0
        self.dropped = 0
        """Requests that kernels had no time to ask twice."""
        self.labels: Counter[str] = Counter()
        self.live_labels: Counter[str] = Counter()
        self.corrected = 0
        """Paired answers that a label was published for."""
        self.wrong = 0
        self.live_wrong = 0
        self.costs: deque[float] = deque(maxlen=_TIMES)
        """Milliseconds of a forward pass, of the version on trial."""
        self.live_costs: deque[float] = deque(maxlen=_TIMES)
        self._said: OrderedDict[Asked, tuple[str, str]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def take(self, event: KernelResult | ShadowScore | LabelledExample) -> None:
        """Take in what a topic says; what is about other tasks or versions is passed over."""
        if event.task != self.task:
            return
        if isinstance(event, KernelResult):
            self.answered += 1
        elif isinstance(event, LabelledExample):
            self._correct(event)
        elif self.version in {event.answered_by, event.shadowed_by} and self._is_new(event.id):
            self._pair(event)

    def _is_new(self, name: str) -> bool:
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _pair(self, score: ShadowScore) -> None:
        self.dropped = max(self.dropped, score.dropped)
        aside = score.shadowed_by == self.version
        if score.error:
            # Where the live version fails aside, the answer of the other stands alone.
            self.errors += aside
            return
        mine, live = (
            (score.shadow_label, score.label) if aside else (score.label, score.shadow_label)
        )
        my_cost, live_cost = (
            (score.shadow_cost_ms, score.cost_ms)
            if aside
            else (score.cost_ms, score.shadow_cost_ms)
        )
        self.pairs += 1
        self.agreeing += mine == live
        self.labels[mine] += 1
        self.live_labels[live] += 1
        self.costs.append(my_cost)
        self.live_costs.append(live_cost)
        asked = (score.target, score.excerpt)
        self._said.pop(asked, None)
        self._said[asked] = (mine, live)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)

    def _correct(self, example: LabelledExample) -> None:
        said = self._said.get((example.target, example.text[:EXCERPT_CHARACTERS]))
        if said is not None and self._is_new(f"label:{example.id}"):
            self.corrected += 1
            self.wrong += said[0] != example.label
            self.live_wrong += said[1] != example.label

    @property
    def error_rate(self) -> float:
        """Share of the requests put to it that it failed on."""
        return self.errors / max(1, self.errors + self.pairs)

    @property
    def agreement(self) -> float:
        """Share of paired answers that are the same; 1 where there is none."""
        return self.agreeing / self.pairs if self.pairs else 1.0

    @property
    def drift(self) -> float:
        """Jensen-Shannon divergence of its labels from the live version's, in bits."""
        return divergence(self.labels, self.live_labels)

    @property
    def slowdown(self) -> float:
        """Its forward pass over the live version's, by the median; 1 where unmeasured."""
        live = statistics.median(self.live_costs) if self.live_costs else 0.0
        return statistics.median(self.costs) / live if live > 0 else 1.0

    def words(self) -> str:
        """What was seen, for a person."""
        text = f"{self.pairs} of {self.answered} answers compared, {self.agreement:.1%} the same"
        text += (
            f", drift {self.drift:.3f} bits, {self.errors} errors, {self.slowdown:.1f}x its time"
        )
        if self.corrected:
            text += (
                f", wrong on {self.wrong} of {self.corrected} corrected (live: {self.live_wrong})"
            )
        return text


def divergence(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Jensen-Shannon divergence of two counts in bits, in [0, 1] (Lin, 1991); 0 where one is empty.

    Unlike the population stability index it is bounded where a label is missing on one side.
    """
    n, m = sum(one.values()), sum(other.values())
    if not n or not m:
        return 0.0
    total = 0.0
    for label in one.keys() | other.keys():
        p, q = one.get(label, 0) / n, other.get(label, 0) / m
        middle = (p + q) / 2
        total += sum(share * math.log2(share / middle) / 2 for share in (p, q) if share)
    return max(0.0, total)
