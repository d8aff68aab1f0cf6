"""Fine-tuning: rows in, a trained torch model out, resumable after a kill."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from transformers import PrinterCallback, set_seed

from schemas.tasks import Task
from trainer import backbone, checkpoints, distributed, files, losses, multi, strategies
from trainer.dataset import Row
from trainer.encoding import Collator, Feature, encode, pad_id
from trainer.errors import RefusedError, TrainerError
from trainer.loop import Loop, Watch, arguments
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.strategies.base import Loss, Strategy, Work

log = logging.getLogger(__name__)

_FOR_PARTS: Final = {"ema", "swa", "fgm", "pgd"}
"""Options that know nothing of rows, and so serve several tasks at once."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model and what it takes to ask it."""

    model: Any
    """A network of `trainer.network`, on the CPU."""
    tokenizer: Any
    collate: Collator
    steps: int
    resumed_at: int
    """Step of the checkpoint from which training went on; 0 for a fresh start."""
    loss: float | None
    """Mean over the last few steps; None where nothing was left to do."""
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)
    """What strategies found out, for the manifest's metrics."""
    history: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss, all along."""


def fit(
    rows: Sequence[Row],
    task: Task,
    recipe: Recipe,
    *,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
    callbacks: Sequence[Any] = (),
) -> Fitted:
    """Train on `rows`; checkpoints go to `folder`, and one that lies there is resumed.

    With `minutes` the learning rate falls with the time used up, and training ends on time.
    `callbacks` are transformers' TrainerCallbacks that look on.

    Raises:
        TrainerError: the backbone cannot be had, the loss is not a number, the disk is full.
    """
    began = time.monotonic()
    chosen = strategies.of(recipe)
    set_seed(recipe.seed)
    tokenizer = backbone.load_tokenizer(recipe)
    model = backbone.load_model(recipe, task, tokenizer)
    clock = _Clock(began, minutes)
    course = _Course(progress, clock, callbacks)
    work = Work(
        task=task,
        recipe=recipe,
        model=model,
        tokenizer=tokenizer,
        collate=Collator(model.inputs, pad_id(tokenizer)),
        rows=list(rows),
        folder=folder,
        pretrain=course.pretrain,
        unlabelled=[text for path in recipe.unlabelled for text in files.read_texts(Path(path))],
    )
    with _explained(folder):
        for strategy in chosen:
            strategy.prepare(work)
        if all(strategy.trains for strategy in chosen):
            course.rounds(work, chosen)
        for strategy in chosen:
            strategy.finish(work)
    return Fitted(
        model=work.model.to("cpu").eval(),
        tokenizer=work.tokenizer,
        collate=work.collate,
        steps=course.steps,
        resumed_at=course.resumed_at,
        loss=course.loss,
        seconds=time.monotonic() - began,
        figures=work.figures,
        history=course.history,
    )


def fit_parts(
    parts: multi.Parts,
    recipe: Recipe,
    *,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
) -> list[Fitted]:
    """Train one backbone on all `parts`; a network of each part, which share it.

    Raises:
        TrainerError: as `fit`; and where the recipe does more than move all weights.
    """
    chosen = strategies.of(recipe)
    if recipe.strategy != "full" or not set(recipe.options) <= _FOR_PARTS:
        raise RefusedError(
            f"tasks on a shared backbone are trained with the strategy full and, of the options, "
            f"{', '.join(sorted(_FOR_PARTS))}: choose such a recipe"
        )
    began = time.monotonic()
    set_seed(recipe.seed)
    tokenizer = backbone.load_tokenizer(recipe)
    model = multi.load(recipe, [task for task, _ in parts], tokenizer)
    course = _Course(progress, _Clock(began, minutes), ())
    collate = multi.collator(model, tokenizer)
    work = Work(
        task=parts[0][0],
        recipe=recipe,
        model=model,
        tokenizer=tokenizer,
        collate=collate,
        rows=[],
        folder=folder,
        pretrain=course.pretrain,
    )

    def plain(asked: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
        said = asked(**{name: batch[name] for name in collate.inputs})
        return multi.loss(said, batch, recipe.label_smoothing), said

    rows = multi.features(parts, tokenizer, recipe)
    with _explained(folder):
        course.shared(work, rows, plain, chosen)
    return [
        Fitted(
            model=part.to("cpu").eval(),
            tokenizer=tokenizer,
            collate=collate,
            steps=course.steps,
            resumed_at=course.resumed_at,
            loss=course.loss,
            seconds=time.monotonic() - began,
            history=course.history,
        )
        for part in multi.split(model)
    ]


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Faults of disk and memory as errors that say what to do."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainerError(
            f"training stopped: {error}; free disk space or memory (the run lies in {folder}), "
            "then it goes on from its last checkpoint"
        ) from error


class _Clock:
    """The time that is left, dealt out to what is still to do."""

    def __init__(self, began: float, minutes: float | None) -> None:
        self._end = None if minutes is None else began + minutes * 60

    def seconds(self, share: float = 1.0) -> float | None:
        """This share of what is left; None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic()) * share


class _Course:
    """All that is trained in one run, one loop after another."""

    def __init__(self, progress: Progress, clock: _Clock, callbacks: Sequence[Any]) -> None:
        self._progress = progress
        self._clock = clock
        self._callbacks = list(callbacks)
        self.steps = 0
        self.resumed_at = 0
        self.loss: float | None = None
        self.history: list[tuple[int, float]] = []

    def rounds(self, work: Work, chosen: Sequence[Strategy]) -> None:
        """Train, and as long as a strategy asks for it, once more."""
        several = any(type(strategy).again is not Strategy.again for strategy in chosen)
        done = 0
        while True:
            end = work.folder / f"round-{done}.safetensors"
            if end.exists():
                load_model(work.model, end)
            else:
                self._round(work, chosen, work.folder / f"round-{done}" if done else work.folder)
                if several and distributed.is_first():
                    _save(work.model, end)
            done += 1
            wanted = [strategy.again(work, done) for strategy in chosen]  # each must know
            if not any(wanted):
                return

    def shared(
        self, work: Work, features: list[Feature], loss: Loss, chosen: Sequence[Strategy]
    ) -> None:
        """Train the heads of several tasks on one backbone."""
        watching = [one for strategy in chosen for one in strategy.callbacks(work)]
        if work.recipe.frozen_vocabulary:
            work.model.backbone.get_input_embeddings().requires_grad_(requires_grad=False)
        self.steps, self.resumed_at = self._train(
            work, work.model, features, work.collate, recipe=work.recipe, folder=work.folder,
            loss=loss, chosen=chosen, more={}, watching=watching, seconds=self._clock.seconds(),
        )  # fmt: skip

    def _round(self, work: Work, chosen: Sequence[Strategy], folder: Path) -> None:
        recipe = work.recipe
        features = encode(work.rows, work.tokenizer, work.task, recipe)
        more: dict[str, Any] = {}
        for strategy in chosen:
            features = strategy.features(work, features)
            more |= strategy.arguments(work)
        teach = losses.criterion(work.task, recipe)

        def plain(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
            logits = model(**{name: batch[name] for name in work.collate.inputs})
            return teach(logits, batch), logits

        watching = [one for strategy in chosen for one in strategy.callbacks(work)]
        if recipe.frozen_vocabulary:
            work.model.backbone.get_input_embeddings().requires_grad_(requires_grad=False)
        done, found = self._train(
            work, work.model, features, work.collate, recipe=recipe, folder=folder,
            loss=plain, chosen=chosen, more=more, watching=watching, seconds=self._clock.seconds(),
        )  # fmt: skip
        self.steps += done
        self.resumed_at = found

    def pretrain(
        self, work: Work, model: Any, features: list[Feature], collate: Any, recipe: Recipe
    ) -> None:
        """Train `model` by the loss that it gives itself."""

        def own(asked: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
            said = asked(**batch)
            return said.loss, said.logits

        self._train(
            work, model, features, collate, recipe=recipe, folder=work.folder / "pretraining",
            loss=own, chosen=(), more={}, watching=[], seconds=self._clock.seconds(0.4),
        )  # fmt: skip

    def _train(
        self,
        work: Work,
        model: Any,
        features: list[Feature],
        collate: Any,
        *,
        recipe: Recipe,
        folder: Path,
        loss: Loss,
        chosen: Sequence[Strategy],
        more: dict[str, Any],
        watching: list[Any],
        seconds: float | None,
    ) -> tuple[int, int]:
        """Steps done, and the step it was resumed at."""
        watch = Watch(self._progress, seconds)
        held = encode(work.validation, work.tokenizer, work.task, recipe) if chosen else []
        loop = Loop(
            model=model,
            args=arguments(recipe, folder, more),
            data_collator=collate,
            train_dataset=features,
            eval_dataset=held or None,
            compute_metrics=_accuracy if held else None,
            callbacks=[*watching, *self._callbacks, watch],
        )
        loop.set_up(recipe, watch, loss, chosen, work)
        loop.remove_callback(PrinterCallback)  # the status file says it, standard output does not
        found = distributed.by_first(lambda: checkpoints.newest(folder))
        if found is not None:
            log.info("training goes on from %s", found)
        done = loop.train(resume_from_checkpoint=None if found is None else str(found))
        # Mixed precision wraps the forward pass; what is exported and compared is the plain model.
        loop.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        self.loss = watch.loss
        self.history += watch.history
        return done.global_step, 0 if found is None else int(found.name.rpartition("-")[2])


def _save(model: Any, path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_model(model, str(partial))
    partial.replace(path)


def _accuracy(said: Any) -> dict[str, float]:
    """Share of decisions that are right, for strategies that look at held-out rows."""
    given = said.predictions[0] if isinstance(said.predictions, tuple) else said.predictions
    asked = said.label_ids != -100
    right = given.argmax(axis=-1)[asked] == said.label_ids[asked]
    return {"accuracy": float(right.mean())}
