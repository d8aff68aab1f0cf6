"""Search: the backbone, strategy and numbers that do best within some minutes and a latency.

Trials are judged on rows taken out of the training side, so the held-back rows stay unseen until
the winner has been chosen. The sampler is a tree-structured Parzen estimator (Bergstra et al.,
2011), the pruner stops what is behind the median at the same share of its time (Golovin et al.,
2017), both by optuna. The first trials are fixed: the plain recipe of each backbone and strategy.
Everything lies in the search's folder: the same command goes on where a kill ended it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import optuna
from transformers import TrainerCallback

from schemas.tasks import Task
from trainer import backbone, dataset, encoding, entity_metrics, metrics, scoring
from trainer.build import serving_ms
from trainer.dataset import Row
from trainer.errors import DataError, TrainerError
from trainer.fit import Fitted, fit
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.search_space import Space, firsts, options, recipe_of, shape

STORE: Final = "search.sqlite"
SEED: Final = 17
TRIALS_SHARE: Final = 0.6
"""Of the minutes: the rest trains the winner on all rows."""
VALIDATION_SHARE: Final = 0.2
"""Of the training texts, that trials are judged on."""
_GOOD_TRIALS: Final = 8
"""Trials that the time for them is shared out to, at least."""
_MOST_TRIALS: Final = 500
"""Beyond, what is sampled says little new; trials of a shape known to be too slow are instant."""
_MIN_TRIAL_S: Final = 20.0
_LOOKS: Final = 3
"""Times within a trial that it is compared with others."""
_LOOKED_AT: Final = 300
"""Validation rows that such a look is on."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The best trial."""

    number: int
    recipe: Recipe
    value: float
    ms: float


def run(
    space: Space, folder: Path, progress: Progress, tell: Callable[[str], None]
) -> tuple[optuna.Study, Winner]:
    """Try recipes until the time for it is up; the study and the best one within the latency.

    Raises:
        DataError: the task gives vectors, or no validation row is left.
        TrainerError: no trial ended, or none is fast enough.
    """
    if space.task.answer == "vector":
        raise DataError("a search needs a task that gives labels or tags")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=space.task.name,
        storage=f"sqlite:///{folder.absolute() / STORE}",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=5),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    trials = _Trials(space, folder, progress, study)
    for killed in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(killed.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(killed.params)
    if not study.trials:
        for first in firsts(space):
            study.enqueue_trial(first)
    while trials.seconds_left() > 0 and len(tried(study)) < _MOST_TRIALS:
        try:
            study.optimize(
                trials,
                n_trials=1,
                catch=(TrainerError, RuntimeError),
                callbacks=[lambda _, trial: tell(_line(trial))],
            )
        finally:
            trials.keep_time()
    return study, _winner(study, space)


class _Trials:
    """Trains and judges one trial after another; optuna calls it."""

    def __init__(self, space: Space, folder: Path, progress: Progress, study: optuna.Study) -> None:
        self._space = space
        self._folder = folder
        self._progress = progress
        self._study = study
        self._began = time.monotonic()
        self._spent_before = float(study.user_attrs.get("seconds", 0.0))
        self._train, self._validation = _split(space.data.train)

    def seconds_left(self) -> float:
        """Of the time for trials, what earlier calls used counted in."""
        return max(0.0, self._space.minutes * 60 * TRIALS_SHARE - self._used())

    def keep_time(self) -> None:
        """Say in the study what was used, whatever for: a later call goes on from it."""
        self._study.set_user_attr("seconds", self._used())

    def _used(self) -> float:
        return self._spent_before + time.monotonic() - self._began

    def __call__(self, trial: optuna.Trial) -> float:
        """The metric of the task on the validation rows."""
        recipe = options(trial, self._space)
        trial.set_user_attr("recipe", msgspec.json.encode(recipe).decode())
        known = _slowest(self._study, recipe)
        limit = self._space.max_ms
        if limit is not None and known is not None and known > limit:
            trial.set_user_attr("why", f"its shape takes {known:.1f} ms, {limit:g} ms is allowed")
            raise optuna.TrialPruned
        began = time.monotonic()
        folder = self._folder / f"trial-{trial.number}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            value = self._value(trial, recipe, folder)
        except (TrainerError, RuntimeError) as error:
            trial.set_user_attr("why", f"failed: {error}")
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
        return value

    def _value(self, trial: optuna.Trial, recipe: Recipe, folder: Path) -> float:
        space = self._space
        seconds = max(_MIN_TRIAL_S, space.minutes * 60 * TRIALS_SHARE / _GOOD_TRIALS)
        seconds = min(seconds, max(_MIN_TRIAL_S, self.seconds_left()))
        look = _Look(trial, space.task, recipe, self._validation[:_LOOKED_AT], seconds)
        fitted = fit(
            self._train,
            space.task,
            recipe,
            folder=folder,
            progress=self._progress,
            minutes=seconds / 60,
            callbacks=[look],
        )
        value = score(fitted, space.task, recipe, self._validation)
        ms = serving_ms(fitted, space.task, recipe, self._validation, folder / "graph")
        trial.set_user_attr("ms", round(ms, 2))
        trial.set_user_attr("score", value)
        trial.set_user_attr("steps", fitted.steps)
        if space.max_ms is not None and ms > space.max_ms:
            trial.set_user_attr("why", f"takes {ms:.1f} ms, {space.max_ms:g} ms is allowed")
            raise optuna.TrialPruned
        return value


class _Look(TrainerCallback):  # type: ignore[misc]
    """Reports a trial's score within its time, and ends it where it is far behind."""

    def __init__(
        self, trial: optuna.Trial, task: Task, recipe: Recipe, rows: list[Row], seconds: float
    ) -> None:
        self._trial = trial
        self._task = task
        self._recipe = recipe
        self._rows = rows
        self._began = time.monotonic()
        self._seconds = seconds
        self._looks = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Look, when another part of the time or of the steps is over."""
        by_time = (time.monotonic() - self._began) / self._seconds
        done = max(by_time, state.global_step / max(1, state.max_steps))
        model: Any = given.get("model")
        due = int(done * (_LOOKS + 1))
        if due <= self._looks or due > _LOOKS or not hasattr(model, "inputs"):
            return
        self._looks = due
        tokenizer = backbone.load_tokenizer(self._recipe)
        collate = encoding.Collator(model.inputs, encoding.pad_id(tokenizer))
        features = encoding.encode(self._rows, tokenizer, self._task, self._recipe)
        said = encoding.predict(model, features, collate)
        model.train()
        self._trial.report(_metric(said, self._rows, self._task), due)
        if self._trial.should_prune():
            self._trial.set_user_attr("why", f"behind the median at {due} of {_LOOKS + 1} parts")
            raise optuna.TrialPruned


def score(fitted: Fitted, task: Task, recipe: Recipe, rows: list[Row]) -> float:
    """The task's metric of a trained model on `rows`, by torch."""
    features = encoding.encode(rows, fitted.tokenizer, task, recipe)
    return _metric(encoding.predict(fitted.model, features, fitted.collate), rows, task)


def _metric(said: Any, rows: list[Row], task: Task) -> float:
    if task.answer == "tags":
        return entity_metrics.of_tags(said, [row.tags for row in rows], task.labels).entity_f1
    truth = scoring.truth(rows, task.labels)
    confusion = metrics.confusion_matrix(truth, said.argmax(axis=1), len(task.labels))
    if task.metric == "macro_f1":
        return float(np.mean(metrics.per_label(confusion)[2]))
    return metrics.accuracy(confusion)


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to train trials on, and to judge them by; all rows of a text on one side."""
    # Another hash than that of the held-back side, which none of these rows is on.
    inner = [dataset.is_held_back(f"search {row.text}", VALIDATION_SHARE) for row in rows]
    train = [row for row, out in zip(rows, inner, strict=True) if not out]
    validation = [row for row, out in zip(rows, inner, strict=True) if out]
    if not train or not validation:
        raise DataError(f"{len(rows)} rows to learn from are too few for a search")
    return train, validation


def _slowest(study: optuna.Study, recipe: Recipe) -> float | None:
    """What a graph of the same shape took in an earlier trial."""
    found = [
        one.user_attrs["ms"]
        for one in study.trials
        if "ms" in one.user_attrs and shape(recipe_of(one)) == shape(recipe)
    ]
    return min(found) if found else None


def tried(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that were begun, in order."""
    waiting = optuna.trial.TrialState.WAITING
    return [one for one in study.trials if one.state != waiting]


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [one for one in study.trials if one.state == optuna.trial.TrialState.COMPLETE]


def _winner(study: optuna.Study, space: Space) -> Winner:
    if not _ended(study):
        whys = dict.fromkeys(one.user_attrs.get("why") for one in tried(study))
        said = "; ".join(why for why in whys if why) or "the time was up first"
        limit = f" within {space.max_ms:g} ms" if space.max_ms is not None else ""
        raise TrainerError(f"no recipe was found{limit} ({said}): allow more --minutes or --max-ms")
    best = study.best_trial
    assert best.value is not None  # noqa: S101  (it is complete)
    return Winner(best.number, recipe_of(best), best.value, best.user_attrs["ms"])


def _line(trial: optuna.trial.FrozenTrial) -> str:
    params = trial.params
    what = " ".join(
        str(params.get(name)) for name in ("backbone", "strategy", "addition", "layers")
    )
    ended = trial.user_attrs.get("why") or (
        f"{trial.value:.4f} at {trial.user_attrs.get('ms')} ms"
        if trial.value is not None
        else "failed"
    )
    return f"trial {trial.number}: {what}: {ended}"
