"""The model card: what a person should know before trusting a version."""

from __future__ import annotations

from collections import Counter

from kernel.artefact import Manifest
from kernel.drivers.classifier import MIN_AGREEMENT
from trainer.dataset import Dataset
from trainer.fit import Fitted
from trainer.metrics import Report
from trainer.recipe import Recipe


def render(
    manifest: Manifest,
    report: Report,
    *,
    recipe: Recipe,
    dataset: Dataset,
    fitted: Fitted,
    compared: int,
    origin: str,
) -> str:
    """The card as Markdown; `compared` rows were used for the agreement figures."""
    labels = Counter(row.label for row in dataset.train)
    counts = ", ".join(f"{labels[label]} {label}" for label in manifest.labels)
    about = "about a target in a text" if manifest.kind == "pair-classifier" else "about a text"
    loss = "no step left to do" if fitted.loss is None else f"loss {fitted.loss:.3f} at the end"
    resumed = f", resumed at step {fitted.resumed_at}" if fitted.resumed_at else ""
    return f"""# {manifest.task} {manifest.version}

Answers `{manifest.task}` with one of {", ".join(manifest.labels)}, {about}.

## Made from

- Backbone {recipe.backbone}, recipe {recipe.name} ({recipe.strategy}), seed {recipe.seed}:
  {fitted.steps} steps in {fitted.seconds:.0f} s, {loss}{resumed}.
- Labels: {origin}.
- {len(dataset.train)} rows to learn from ({counts}); {len(dataset.held_back)} held back, by the
  hash of their text.
- Left out: {len(dataset.dropped)} unusable rows, {dataset.duplicates} repeats. Contradictions
  settled by majority, then by the latest: {dataset.conflicts}.

## Does

On {report.n} held-back rows, through the {report.precision} graph; 95 % intervals by bootstrap:

- accuracy {report.accuracy:.3f} {_interval(report.accuracy_interval)}
- macro F1 {report.macro_f1:.3f} {_interval(report.macro_f1_interval)}
- expected calibration error {report.ece:.3f}

| label | precision | recall | F1 | rows |
|---|---|---|---|---|
{_table(report)}

## Precisions

Share of {compared} rows, held back and learned from, with the same label: fp32 is compared with
torch, the others with fp32. Below {MIN_AGREEMENT} a precision is not served.

{_agreement(manifest)}

## Limits

- Texts beyond {manifest.max_tokens} tokens are cut.
- The held-back rows come from the same labellers as the others: texts of another kind can be
  harder than the figures above say.
"""


def _interval(bounds: tuple[float, float]) -> str:
    return f"({bounds[0]:.3f} to {bounds[1]:.3f})"


def _table(report: Report) -> str:
    return "\n".join(
        f"| {label} | {one.precision:.3f} | {one.recall:.3f} | {one.f1:.3f} | {one.support} |"
        for label, one in report.per_label.items()
    )


def _agreement(manifest: Manifest) -> str:
    return "\n".join(
        f"- {name}: {share:.4f}{'' if share >= MIN_AGREEMENT else ' (not served)'}"
        for name, share in manifest.agreement.items()
    )
