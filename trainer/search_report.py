"""What a search leaves: its recipe as a file, and a report that says why the winner won."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import optuna

from trainer import plots
from trainer.metrics import Report
from trainer.recipe import Recipe
from trainer.search import Winner, tried
from trainer.search_space import Space

REPORT: Final = "report.md"
RECIPE: Final = "recipe.toml"
_ENOUGH: Final = 10
"""Trials that ended, below which nothing is said of what mattered."""
_CLOSE: Final = 3
"""Trials behind the winner that it is compared with by name."""


def write_recipe(folder: Path, recipe: Recipe, said: str) -> Path:
    """The recipe as a TOML file that `headrace train --recipe` takes."""
    fields = msgspec.to_builtins(recipe)
    plain = Recipe(name=recipe.name)
    tables = fields.pop("options")
    lines = [f"# {said}"]
    lines += [
        f"{name} = {_toml(value)}"
        for name, value in fields.items()
        if name != "name" and getattr(recipe, name) != getattr(plain, name)
    ]
    for name, values in tables.items():
        lines += ["", f"[options.{name}]", *(f"{key} = {_toml(of)}" for key, of in values.items())]
    path = folder / RECIPE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_report(
    folder: Path, space: Space, study: optuna.Study, winner: Winner, report: Report
) -> Path:
    """The report as Markdown, with its plots beside it."""
    done = [one for one in study.trials if one.state == optuna.trial.TrialState.COMPLETE]
    begun = tried(study)
    scored = [one for one in study.trials if "score" in one.user_attrs]
    chosen = next(place for place, one in enumerate(scored) if one.number == winner.number)
    points = [(one.user_attrs["ms"], one.user_attrs["score"]) for one in scored]
    where = folder / plots.FOLDER
    names = (space.task.metric, "trial that ended")
    plots.steps(where / "search.svg", [float(one.value or 0) for one in done], names[::-1])
    plots.scatter(where / "latency.svg", points, chosen, ("ms at p99, one text", names[0]))
    limit = "none" if space.max_ms is None else f"{space.max_ms:g} ms"
    path = folder / REPORT
    path.write_text(
        f"""# Search for {space.task.name}

{len(begun)} trials in {study.user_attrs.get("seconds", 0) / 60:.1f} minutes (of
{space.minutes:g}, which also train the winner); {len(done)} ended, \
{len(begun) - len(done)} were stopped, too slow or failed.
Trials learn from a part of the {len(space.data.train)} rows and are judged on the rest by
{space.task.metric}; limit of serving latency: {limit}.

## Why the winner won

{_why(done, winner, space)}

{_differences(study, done, winner)}

Trained on all rows, it has on {report.n} held-back rows, which no trial has seen, accuracy
{report.accuracy:.4f} (95 %: {report.accuracy_interval[0]:.4f} to \
{report.accuracy_interval[1]:.4f}) and macro F1 {report.macro_f1:.4f}.

![score by trial]({plots.FOLDER}/search.svg) ![score and latency]({plots.FOLDER}/latency.svg)

## What mattered

{_importance(study)}

## What was tried

| trial | {" | ".join(_COLUMNS)} | {space.task.metric} | ms at p99 | steps | ended |
|---|{"---|" * len(_COLUMNS)}---|---|---|---|
{_table(study)}
""",
        encoding="utf-8",
    )
    return path


_COLUMNS: Final = (
    "backbone",
    "strategy",
    "addition",
    "layers",
    "learning_rate",
    "head_learning_rate",
    "layer_decay",
    "label_smoothing",
    "dropout",
    "batch_size",
    "frozen_vocabulary",
)


def _why(done: list[optuna.trial.FrozenTrial], winner: Winner, space: Space) -> str:
    rank = sorted(done, key=lambda one: -(one.value or 0))
    behind = [one for one in rank if one.number != winner.number][:_CLOSE]
    fast = "" if space.max_ms is None else f", and {winner.ms:.1f} ms keep the limit"
    said = f"Trial {winner.number} has the highest {space.task.metric}, {winner.value:.4f}{fast}."
    if not behind:
        return f"{said} It is the only trial that ended."
    next_ones = ", ".join(f"{one.number} ({one.value:.4f})" for one in behind)
    return f"{said} Next are {next_ones}."


def _differences(study: optuna.Study, done: list[optuna.trial.FrozenTrial], winner: Winner) -> str:
    """In what the winner differs from the plain recipe, and by how much it is ahead of it."""
    best = next(one for one in study.trials if one.number == winner.number)
    plain = next((one for one in done if one.number == 0), None)
    if plain is None or plain.number == best.number:
        return "It is the plain recipe itself." if plain else "The plain recipe did not end."
    changed = [
        f"{name} {_short(best.params[name])} for {_short(value)}"
        for name, value in plain.params.items()
        if best.params.get(name) != value
    ]
    gain = (best.value or 0) - (plain.value or 0)
    return (
        f"Against the plain recipe (trial 0, {plain.value:.4f}) it gains {gain:+.4f} with "
        f"{', '.join(changed)}."
    )


def _importance(study: optuna.Study) -> str:
    if sum(one.value is not None for one in study.trials) < _ENOUGH:
        return "Too few trials ended to tell."
    try:
        shares = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ZeroDivisionError):
        return "All trials came to the same."
    named = ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share >= 0.01)
    return (
        f"Share of the difference between trials that a choice explains (PED-ANOVA, Watanabe et "
        f"al., 2023): {named}."
    )


def _table(study: optuna.Study) -> str:
    rows = []
    for one in tried(study):
        known = one.user_attrs
        cells = [_short(one.params.get(name, "")) for name in _COLUMNS]
        value = known.get("score", "")
        state = known.get("why") or one.state.name.lower()
        figures = [_short(value), str(known.get("ms", "")), str(known.get("steps", "")), state]
        rows.append(f"| {one.number} | " + " | ".join([*cells, *figures]) + " |")
    return "\n".join(rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    # A JSON string is a TOML string; numbers are written alike.
    return msgspec.json.encode(value).decode()
