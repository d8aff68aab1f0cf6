"""The model card: what a person should know before trusting a version, with its plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernel.artefact import Manifest
from kernel.drivers.precision import MIN_AGREEMENT
from trainer import judgement, metrics, plots
from trainer.dataset import Dataset
from trainer.fit import Fitted
from trainer.judgement import Judgement, Share, Trial
from trainer.metrics import Report
from trainer.recipe import Recipe

FILE: Final = "card.md"
_MOST_LABELS_COUNTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a card tells of."""

    manifest: Manifest
    report: Report
    recipe: Recipe
    dataset: Dataset
    fitted: Fitted
    compared: int
    """Rows that the agreement figures are of."""
    origin: str
    judged: Judgement | None = None
    """None for tasks that give no label to a whole text."""


def write(
    folder: Path, told: Told, probabilities: NDArray[np.float32], truth: NDArray[np.int64]
) -> None:
    """Leave the card, its plots and the judgement in an artefact's `folder`.

    `probabilities` [rows, labels] and `truth` [rows] are of the held-back rows.
    """
    where = folder / plots.FOLDER
    if told.fitted.history:
        plots.loss_curve(where / "loss.svg", told.fitted.history)
    if told.judged is not None:
        plots.reliability(where / "reliability.svg", metrics.reliability(probabilities, truth))
        if len(told.manifest.labels) <= plots.MOST_LABELS:
            plots.confusion(where / "confusion.svg", told.report.confusion, told.manifest.labels)
        content = msgspec.json.format(msgspec.json.encode(told.judged))
        (folder / judgement.FILE).write_bytes(content)
    shown = sorted(path.name for path in where.glob("*.svg"))
    (folder / FILE).write_text(render(told, shown), encoding="utf-8")


def render(told: Told, shown: Iterable[str] = ()) -> str:
    """The card as Markdown; `shown` are names of plots beside it."""
    manifest, report, fitted = told.manifest, told.report, told.fitted
    answers = f"with one of {', '.join(manifest.labels)}, " if manifest.labels else ""
    loss = "no step left to do" if fitted.loss is None else f"loss {fitted.loss:.3f} at the end"
    resumed = f", resumed at step {fitted.resumed_at}" if fitted.resumed_at else ""
    recipe, dataset = told.recipe, told.dataset
    return f"""# {manifest.task} {manifest.version}

Answers `{manifest.task}` {answers}{_about(manifest)}.

## Made from

- Backbone {recipe.backbone}, recipe {recipe.name} ({recipe.strategy}), seed {recipe.seed}:
  {fitted.steps} steps in {fitted.seconds:.0f} s, {loss}{resumed}.
- Labels: {told.origin}.
- {len(dataset.train)} rows to learn from{_counts(told)}; {len(dataset.held_back)} held back, by the
  hash of their text.
- Left out: {len(dataset.dropped)} unusable rows, {dataset.duplicates} repeats. Contradictions
  settled by majority, then by the latest: {dataset.conflicts}.

## Does

On {report.n} held-back rows, through the {report.precision} graph; 95 % intervals by bootstrap:

- accuracy {report.accuracy:.3f} {_interval(report.accuracy_interval)}
- macro F1 {report.macro_f1:.3f} {_interval(report.macro_f1_interval)}
- expected calibration error {report.ece:.3f} {_interval(report.ece_interval)}
{_scope(report)}
| label | precision | recall | F1 | rows |
|---|---|---|---|---|
{_table(report)}
{_judged(told.judged)}
## Precisions

Share of {told.compared} rows, held back and learned from, with the same label: fp32 is compared
with torch, the others with fp32. Below {MIN_AGREEMENT} a precision is not served.

{_agreement(manifest)}
{_plots(shown)}
## Limits

- Texts beyond {manifest.max_tokens} tokens are read in windows that overlap (docs/drivers.md).
- The held-back rows come from the same labellers as the others: texts of another kind can be
  harder than the figures above say.
"""


def _about(manifest: Manifest) -> str:
    about = {
        "pair-classifier": "about a target in a text",
        "token-classifier": "for each word of a text",
        "embedder": "with a vector for a text",
    }
    return about.get(manifest.kind, "about a text")


def _counts(told: Told) -> str:
    labels = Counter(row.label for row in told.dataset.train)
    if not 0 < len(told.manifest.labels) <= _MOST_LABELS_COUNTED:
        return ""
    return f" ({', '.join(f'{labels[label]} {label}' for label in told.manifest.labels)})"


def _interval(bounds: tuple[float, float]) -> str:
    return f"({bounds[0]:.3f} to {bounds[1]:.3f})"


def _scope(report: Report) -> str:
    found = report.scope
    if found is None:
        return ""
    return (
        f"- in scope: accuracy {found.in_scope_accuracy:.3f} {_interval(found.in_scope_interval)} "
        f"on {found.in_scope} rows\n"
        f"- out of scope ({found.label}): recall {found.out_of_scope_recall:.3f} "
        f"{_interval(found.out_of_scope_interval)} on {found.out_of_scope} rows\n"
    )


def _table(report: Report) -> str:
    return "\n".join(
        f"| {label} | {one.precision:.3f} {_interval(one.precision_interval)} "
        f"| {one.recall:.3f} {_interval(one.recall_interval)} "
        f"| {one.f1:.3f} {_interval(one.f1_interval)} | {one.support} |"
        for label, one in report.per_label.items()
    )


def _judged(judged: Judgement | None) -> str:
    if judged is None:
        return ""
    return f"""
## Confidence

{_calibration(judged)}

## Robustness

Accuracy on the same rows after a change that leaves the meaning alone; "same" is the share that
keeps its label.

| change | rows | as it is | changed | same |
|---|---|---|---|---|
{_trials(judged.robustness)}
{_contrasted(judged.contrasted)}
## Fairness

The same texts about a name of another group. Between the groups that gain and lose most:
{judgement.fairness_gap(judged):.3f}.

| change | rows | as it is | changed | same |
|---|---|---|---|---|
{_trials(judged.fairness)}

| slice | rows | accuracy |
|---|---|---|
{_slices(judged.slices)}

## Leakage

{judged.leakage.exact} held-back rows are learned from, {judged.leakage.near} resemble one that is.
{_without_leaks(judged.without_leaks)}"""


def _calibration(judged: Judgement) -> str:
    found = judged.calibration
    if found.ece_before is None or found.ece_after is None:
        return "Too few held-back rows to fit a temperature: confidence is as it was trained."
    return (
        f"Logits are divided by a temperature of {found.temperature:.3f}, fitted on "
        f"{found.fitted_on} held-back rows. On the other {found.judged_on} the expected "
        f"calibration error goes from {found.ece_before:.3f} to {found.ece_after:.3f}."
    )


def _trials(trials: list[Trial]) -> str:
    return "\n".join(
        f"| {one.name} | {one.accuracy.n} | {one.clean:.3f} | {_share(one.accuracy)} "
        f"| {one.same:.3f} |"
        for one in trials
    )


def _contrasted(share: Share | None) -> str:
    if share is None:
        return ""
    return (
        f"\nTexts asked about several targets with different labels: {_share(share)} on "
        f"{share.n} rows.\n"
    )


def _slices(found: dict[str, Share]) -> str:
    return "\n".join(f"| {name} | {one.n} | {_share(one)} |" for name, one in found.items())


def _without_leaks(share: Share | None) -> str:
    return "" if share is None else f"Without them accuracy is {_share(share)} on {share.n} rows.\n"


def _share(share: Share) -> str:
    return f"{share.value:.3f} {_interval(share.interval)}"


def _agreement(manifest: Manifest) -> str:
    return "\n".join(
        f"- {name}: {share:.4f}{'' if share >= MIN_AGREEMENT else ' (not served)'}"
        for name, share in manifest.agreement.items()
    )


def _plots(shown: Iterable[str]) -> str:
    pictures = [f"![{name.removesuffix('.svg')}]({plots.FOLDER}/{name})" for name in shown]
    return "\n## Plots\n\n" + " ".join(pictures) + "\n" if pictures else ""
