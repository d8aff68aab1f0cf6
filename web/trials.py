"""Versions on trial, beside the live one: what the roll-out sees, as the console reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from kernel.evidence import Evidence
from kernel.registry import Registry
from schemas.events import KernelResult, LabelledExample, ModelVersion, ShadowScore
from web.queries import Row
from web.tables import Seen

_DIFFERENCES: Final = 20


@dataclass
class Trial:
    """One stage of one version: shadow, or a canary at one share."""

    version: ModelVersion
    evidence: Evidence
    since: datetime
    """From when on the console has compared: later than the stage where it was started later."""
    differences: deque[ShadowScore] = field(default_factory=lambda: deque(maxlen=_DIFFERENCES))
    """The newest answers that were not the same, or that one of both did not give."""

    def row(self) -> Row:
        """Counts, what they mean, and the newest differences, newest first."""
        evidence, version = self.evidence, self.version
        return {
            "task": version.task,
            "version": version.version,
            "state": version.state,
            "share": version.share,
            "held": version.held,
            "since": self.since.isoformat(timespec="seconds"),
            "answered": evidence.answered,
            "compared": evidence.pairs,
            "agreement": round(evidence.agreement, 4),
            "drift_bits": round(evidence.drift, 4),
            "errors": evidence.errors,
            "slowdown": round(evidence.slowdown, 3),
            "corrected": evidence.corrected,
            "wrong": evidence.wrong,
            "live_wrong": evidence.live_wrong,
            "labels": dict(evidence.labels),
            "live_labels": dict(evidence.live_labels),
            "says": evidence.words(),
            "differences": [self._difference(one) for one in reversed(self.differences)],
        }

    def _difference(self, score: ShadowScore) -> Row:
        aside = score.shadowed_by == self.version.version
        mine, live = (
            (score.shadow_label, score.label) if aside else (score.label, score.shadow_label)
        )
        return {
            "thread": score.thread,
            "excerpt": score.excerpt,
            "live_label": live,
            "label": mine,
            "error": score.error,
        }


class Trials:
    """Every version in shadow or canary now."""

    def __init__(self) -> None:
        self.found: dict[str, Trial] = {}
        """By `task/version`."""

    def take(self, registry: Registry, seen: Iterable[Seen]) -> None:
        """Begin and end trials as the registry says, and take in what was read."""
        on_trial = {
            key: one for key, one in registry.versions.items() if one.state in {"shadow", "canary"}
        }
        for key in [key for key in self.found if key not in on_trial]:
            del self.found[key]
        for key, version in on_trial.items():
            known = self.found.get(key)
            if known is None or known.version != version:
                since = max(version.changed_at, datetime.now(UTC))
                evidence = Evidence(version.task, version.version)
                self.found[key] = Trial(version, evidence, since)
        if not self.found:
            return
        for one in seen:
            event = one.event
            if isinstance(event, KernelResult | ShadowScore | LabelledExample):
                for trial in self.found.values():
                    _take(trial, event, one.record.time)


def _take(trial: Trial, event: KernelResult | ShadowScore | LabelledExample, at: datetime) -> None:
    if at < trial.version.changed_at:
        return
    trial.since = min(trial.since, at)
    pairs, errors = trial.evidence.pairs, trial.evidence.errors
    agreeing = trial.evidence.agreeing
    trial.evidence.take(event)
    differs = (
        trial.evidence.errors > errors
        or trial.evidence.pairs - pairs > trial.evidence.agreeing - agreeing
    )
    if differs and isinstance(event, ShadowScore):
        trial.differences.append(event)
