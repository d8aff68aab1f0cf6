"""Fine-tuning: rows in, a trained torch model out, resumable after a kill."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from schemas.tasks import Task
from trainer import backbone, checkpoints
from trainer.dataset import Row
from trainer.encoding import Collator, encode, pad_id
from trainer.errors import RefusedError, TrainerError
from trainer.network import TextClassifier
from trainer.progress import Progress
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

_REPORT_STEPS: Final = 5
_KEPT_CHECKPOINTS: Final = 2


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model and what it takes to ask it."""

    model: TextClassifier
    tokenizer: Any
    collate: Collator
    steps: int
    resumed_at: int
    """Step of the checkpoint from which training went on; 0 for a fresh start."""
    loss: float | None
    """Mean over the last few steps; None where nothing was left to do."""
    seconds: float


def fit(
    rows: Sequence[Row],
    task: Task,
    recipe: Recipe,
    *,
    folder: Path,
    progress: Progress,
    minutes: float | None = None,
) -> Fitted:
    """Train on `rows`; checkpoints go to `folder`, and one that lies there is resumed.

    With `minutes` the learning rate falls with the time used up, and training ends on time.

    Raises:
        TrainerError: the backbone cannot be had, the loss is not a number, the disk is full.
    """
    began = time.monotonic()
    set_seed(recipe.seed)
    tokenizer = backbone.load_tokenizer(recipe)
    model = backbone.load_model(recipe, task)
    collate = Collator(model, pad_id(tokenizer))
    features = encode(rows, tokenizer, task, recipe)
    watch = _Watch(progress, began, minutes)
    trainer = _Trainer(
        model=model,
        args=_arguments(recipe, folder),
        data_collator=collate,
        train_dataset=features,
        optimizers=(_optimiser(model, recipe), None),
        callbacks=[watch],
    )
    trainer.set_up(recipe, watch)
    trainer.remove_callback(PrinterCallback)  # the status file says it, standard output does not
    found = checkpoints.newest(folder)
    if found is not None:
        log.info("training goes on from %s", found)
    try:
        done = trainer.train(resume_from_checkpoint=None if found is None else str(found))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainerError(
            f"training stopped: {error}; free disk space or memory (the run lies in {folder}), "
            "then it goes on from its last checkpoint"
        ) from error
    # Mixed precision wraps the forward pass; what is exported and compared is the plain model.
    model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return Fitted(
        model=model.to("cpu").eval(),
        tokenizer=tokenizer,
        collate=collate,
        steps=done.global_step,
        resumed_at=0 if found is None else int(found.name.rpartition("-")[2]),
        loss=watch.loss,
        seconds=time.monotonic() - began,
    )


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, keeps the time, seals checkpoints, and stops on a loss that is NaN."""

    def __init__(self, progress: Progress, began: float, minutes: float | None) -> None:
        self._progress = progress
        self._began = began
        self._limit_s = None if minutes is None else minutes * 60
        self._first_step: tuple[float, int] | None = None
        self.loss: float | None = None

    @property
    def time_used(self) -> float:
        """Share of the time limit that is used up; 0 without one."""
        if self._limit_s is None:
            return 0.0
        return min(1.0, (time.monotonic() - self._began) / self._limit_s)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Write the status; end where the time is up."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = (now, state.global_step)
        since, first = self._first_step
        done = state.global_step - first
        left = state.max_steps - state.global_step
        self._progress.say(
            "training",
            step=state.global_step,
            of=state.max_steps,
            loss=self.loss,
            eta_s=round((now - since) / done * left, 1) if done else None,
        )
        if self.time_used >= 1:
            control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Keep the loss; a loss that is not a number ends the run."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.loss = float(loss)
        if not math.isfinite(self.loss):
            raise RefusedError(
                f"the loss is {loss} at step {state.global_step}: lower learning_rate or "
                "head_learning_rate in the recipe"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Seal what was just written."""
        checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Trainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with a linear schedule that also ends when the time does."""

    def set_up(self, recipe: Recipe, watch: _Watch) -> None:
        self._recipe = recipe
        self._watch = watch

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002  (the mean over the batch is what we want)
    ) -> Any:
        """Cross-entropy, smoothed as the recipe says."""
        labels = inputs.pop("labels")
        logits = model(**inputs)
        loss = torch.nn.functional.cross_entropy(
            logits, labels, label_smoothing=self._recipe.label_smoothing
        )
        return (loss, logits) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Rise over the warm-up, then fall to zero with steps or time, what is further."""
        rise = max(1, round(num_training_steps * self._recipe.warmup))

        def share(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            by_steps = (step - rise) / max(1, num_training_steps - rise)
            return max(0.0, 1 - max(by_steps, self._watch.time_used))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler


def _arguments(recipe: Recipe, folder: Path) -> Any:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.batch_size,
        train_sampling_strategy="group_by_length",
        use_cpu=not torch.accelerator.is_available(),
        bf16=_bf16_is_fast(),
        save_strategy="steps",
        save_steps=recipe.checkpoint_steps,
        save_total_limit=_KEPT_CHECKPOINTS,
        logging_steps=_REPORT_STEPS,
        logging_nan_inf_filter=False,
        seed=recipe.seed,
        disable_tqdm=True,
        log_level="error",
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _bf16_is_fast() -> bool:
    """Whether the device multiplies bfloat16 itself; emulated it is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _optimiser(model: TextClassifier, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with the recipe's rate for each depth; no decay on biases and norms."""
    if recipe.frozen_vocabulary:
        model.backbone.get_input_embeddings().requires_grad_(requires_grad=False)
    layers = int(getattr(model.backbone.config, "num_hidden_layers", 0))
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        rate = _rate(name, layers, recipe)
        decay = recipe.weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(weight)
    return torch.optim.AdamW(
        [
            {"params": weights, "lr": rate, "weight_decay": decay}
            for (rate, decay), weights in groups.items()
        ],
        fused=True,
    )


def _rate(name: str, layers: int, recipe: Recipe) -> float:
    """Learning rate by depth (Howard and Ruder, 2018): the head's, then falling downwards."""
    if name.startswith("head."):
        return recipe.head_learning_rate
    parts = name.split(".")
    depth = layers + 1
    if "embeddings" in parts:
        depth = 0
    elif "layer" in parts:
        depth = int(parts[parts.index("layer") + 1]) + 1
    return recipe.learning_rate * recipe.layer_decay ** (layers + 1 - depth)
