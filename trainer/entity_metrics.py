"""Metrics of tags and of vectors, beside those of labels in `trainer.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from seqeval.metrics import f1_score  # type: ignore[import-untyped]
from seqeval.metrics.sequence_labeling import (  # type: ignore[import-untyped]
    precision_recall_fscore_support,
)
from seqeval.scheme import IOB2  # type: ignore[import-untyped]

from trainer import metrics
from trainer.metrics import LabelReport, Report

_BOOTSTRAPS: Final = 200
_DEPTHS: Final = (1, 5, 10)


class EntityReport(Report, frozen=True, kw_only=True):
    """What a tagger does. `n` counts words; `accuracy` and `macro_f1` are of single words' tags."""

    sentences: int
    entity_f1: float
    """Share of entities found whole and of the right kind, as seqeval counts (IOB2)."""
    entity_f1_interval: tuple[float, float]
    """95 %, by bootstrap over sentences."""
    per_entity: dict[str, LabelReport]
    token_micro_f1: float
    """Over all words and tags; with one tag for each word it equals the accuracy."""
    token_macro_f1: float
    """Mean over the tags that occur."""
    token_micro_f1_without_o: float
    """The same over the tags of entities alone."""


class RetrievalReport(Report, frozen=True, kw_only=True):
    """How vectors find what is near a text among all of `n` rows."""

    recall_at: dict[str, float]
    mean_reciprocal_rank: float


def beside(report: Report) -> list[str]:
    """What a report says beside accuracy, for a person."""
    if report.scope is not None:
        scope = report.scope
        line = (
            f"in scope: accuracy {scope.in_scope_accuracy:.4f} of {scope.in_scope} rows; out of "
            f"scope ({scope.label}): recall {scope.out_of_scope_recall:.4f} of "
            f"{scope.out_of_scope} rows"
        )
        return [line]
    if isinstance(report, EntityReport):
        low, high = report.entity_f1_interval
        kinds = ", ".join(f"{kind} {one.f1:.4f}" for kind, one in report.per_entity.items())
        entities = (
            f"{report.sentences} sentences of {report.n} words: entity F1 {report.entity_f1:.4f} "
            f"(95 %: {low:.4f} to {high:.4f}); {kinds}"
        )
        words = (
            f"of single words: micro F1 {report.token_micro_f1:.4f}, macro F1 "
            f"{report.token_macro_f1:.4f}, micro F1 without O "
            f"{report.token_micro_f1_without_o:.4f}"
        )
        return [entities, words]
    if isinstance(report, RetrievalReport):
        shares = ", ".join(f"at {depth} {share:.4f}" for depth, share in report.recall_at.items())
        return [f"recall {shares}; mean reciprocal rank {report.mean_reciprocal_rank:.4f}"]
    return []


def of_tags(
    probabilities: NDArray[np.float32], truth: Sequence[Sequence[str]], labels: Sequence[str]
) -> EntityReport:
    """The report for `probabilities` [words, tags] of all sentences' words, in order.

    Raises:
        ValueError: no words.
    """
    index = {label: number for number, label in enumerate(labels)}
    flat = np.array([index[tag] for tags in truth for tag in tags], np.int64)
    tokens = metrics.evaluate(probabilities, flat, tuple(labels))
    ends = np.cumsum([len(tags) for tags in truth])[:-1]
    said = [repaired([labels[i] for i in own]) for own in np.split(probabilities.argmax(1), ends)]
    right = [list(tags) for tags in truth]
    kinds = sorted({label[2:] for label in labels if label != "O"})
    figures = _per_entity(right, said)
    drawn = _draws(right, said)
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn else (0.0, 0.0)
    there = [one.f1 for one in tokens.per_label.values() if one.support]
    return EntityReport(
        **{name: getattr(tokens, name) for name in Report.__struct_fields__},
        sentences=len(truth),
        entity_f1=float(f1_score(right, said, mode="strict", scheme=IOB2, zero_division=0)),
        entity_f1_interval=(float(low), float(high)),
        per_entity={kind: figures.get(kind, LabelReport(0.0, 0.0, 0.0, 0)) for kind in kinds},
        token_micro_f1=tokens.accuracy,
        token_macro_f1=float(np.mean(there)),
        token_micro_f1_without_o=_micro_without_o(np.array(tokens.confusion), index.get("O", 0)),
    )


def repaired(tags: Sequence[str]) -> list[str]:
    """The tags as a reader takes them: an I- that continues nothing begins an entity."""
    found: list[str] = []
    before = "O"
    for tag in tags:
        starts = tag.startswith("I-") and before[2:] != tag[2:]
        found.append(f"B-{tag[2:]}" if starts else tag)
        before = tag
    return found


def of_vectors(texts: NDArray[np.float32], near: NDArray[np.float32]) -> RetrievalReport:
    """The report for vectors [rows, hidden] of texts and of what each should find."""
    similar = texts @ near.T
    own = np.diag(similar)[:, None]
    ranks = 1 + (similar > own).sum(axis=1)
    first = ranks == 1
    interval = metrics.interval_of_mean(first.astype(np.float64))
    return RetrievalReport(
        n=len(texts),
        accuracy=float(first.mean()),
        accuracy_interval=interval,
        macro_f1=float(first.mean()),
        macro_f1_interval=interval,
        ece=0.0,
        per_label={},
        confusion=[],
        recall_at={str(depth): float((ranks <= depth).mean()) for depth in _DEPTHS},
        mean_reciprocal_rank=float((1 / ranks).mean()),
    )


def _per_entity(right: list[list[str]], said: list[list[str]]) -> dict[str, LabelReport]:
    names = sorted({tag[2:] for tags in (*right, *said) for tag in tags if tag != "O"})
    if not names:
        return {}
    figures = precision_recall_fscore_support(right, said, average=None, zero_division=0)
    return {
        name: LabelReport(float(p), float(r), float(f), int(n))
        for name, p, r, f, n in zip(names, *figures, strict=True)
    }


def _counts(right: Sequence[str], said: Sequence[str]) -> tuple[int, int, int]:
    """Entities found rightly, said, and there, of one sentence."""
    there, given = _entities(right), _entities(said)
    return len(there & given), len(given), len(there)


def _entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    found: set[tuple[str, int, int]] = set()
    start = 0
    for at, tag in enumerate([*tags, "O"]):
        before = tags[at - 1] if at else "O"
        if before != "O" and not tag.startswith("I-"):
            found.add((before[2:], start, at))
        if tag.startswith("B-"):
            start = at
    return found


def _draws(right: list[list[str]], said: list[list[str]]) -> list[float]:
    counts = np.array([_counts(*pair) for pair in zip(right, said, strict=True)])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_BOOTSTRAPS):
        hits, given, there = counts[rng.integers(0, len(counts), len(counts))].sum(axis=0)
        found.append(float(2 * hits / max(given + there, 1)))
    return found


def _micro_without_o(confusion: NDArray[np.int64], outside: int) -> float:
    inside = np.delete(np.arange(len(confusion)), outside)
    hits = np.diag(confusion)[inside].sum()
    total = confusion[:, inside].sum() + confusion[inside].sum()
    return float(2 * hits / max(total, 1))
