"""The training loop: transformers' Trainer, strategies around its loss, a time limit, seals."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from trainer import checkpoints, distributed
from trainer.errors import RefusedError
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.strategies.base import Loss, Strategy, Work

log = logging.getLogger(__name__)

_REPORT_STEPS: Final = 5
_KEPT_CHECKPOINTS: Final = 2


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, keeps the time, seals checkpoints, and stops on a loss that is NaN."""

    def __init__(self, progress: Progress, seconds: float | None) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._limit_s = seconds
        self._first_step: tuple[float, int] | None = None
        self.loss: float | None = None
        self.history: list[tuple[int, float]] = []
        """Step and mean loss since the report before."""

    @property
    def time_used(self) -> float:
        """Share of the time limit that is used up; 0 without one."""
        if self._limit_s is None:
            return 0.0
        return min(1.0, (time.monotonic() - self._began) / max(self._limit_s, 1e-9))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002
        """Write the status; end where the time is up."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = (now, state.global_step)
        since, first = self._first_step
        done = state.global_step - first
        left = state.max_steps - state.global_step
        if distributed.is_first():
            self._progress.say(
                "training",
                step=state.global_step,
                of=state.max_steps,
                loss=self.loss,
                eta_s=round((now - since) / done * left, 1) if done else None,
            )
        # All processes must end at the same step: the first one's clock decides.
        if self._limit_s is not None and distributed.by_first(lambda: self.time_used >= 1):
            control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Keep the loss; a loss that is not a number ends the run."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.loss = float(loss)
        self.history.append((state.global_step, self.loss))
        if not math.isfinite(self.loss):
            raise RefusedError(
                f"the loss is {loss} at step {state.global_step}: lower learning_rate or "
                "head_learning_rate in the recipe"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Seal what was just written, once every process has written its part."""
        distributed.meet()
        if distributed.is_first():
            checkpoints.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        distributed.meet()


class Loop(Trainer):  # type: ignore[misc]
    """transformers' Trainer with a linear schedule that also ends when the time does."""

    def set_up(
        self, recipe: Recipe, watch: Watch, loss: Loss, strategies: Sequence[Strategy], work: Work
    ) -> None:
        """Say what is trained by: `loss`, and the strategies around it, the last outermost."""
        self._recipe = recipe
        self._watch = watch
        self._plain = loss
        self._strategies = strategies
        self._work = work
        self.model_accepts_loss_kwargs = False  # ours is a mean over the batch
        for strategy in strategies:
            loss = partial(strategy.loss, work, below=loss)
        self._loss = loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002  (the mean over the batch is what we want)
    ) -> Any:
        """The loss with all strategies while training, the plain one while evaluating."""
        loss, logits = (self._loss if model.training else self._plain)(model, dict(inputs))
        return (loss, (loss, logits)) if return_outputs else loss

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """A step's gradients, with those that strategies add."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        for strategy in self._strategies:
            batch = self._prepare_inputs(dict(inputs))
            strategy.after_backward(self._work, model, batch, self._again)
        return loss

    def _again(self, model: Any, batch: dict[str, Any]) -> None:
        with self.compute_loss_context_manager():
            loss, _ = self._plain(model, dict(batch))
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with the recipe's rate for each depth."""
        if self.optimizer is None:
            asked = self.model if model is None else model
            self.optimizer: Any = optimiser(asked, self._recipe)
        return self.optimizer

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


class _Arguments(TrainingArguments):  # type: ignore[misc]  # transformers ships no types
    """Training arguments whose processor has no number.

    accelerate numbers it when several processes train; torch saves such tensors as of "cpu:0",
    and does not know how to load them again.
    """

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        found: torch.device = super().device
        return torch.device("cpu") if found.type == "cpu" else found


def arguments(recipe: Recipe, folder: Path, more: dict[str, Any]) -> Any:
    """The arguments of transformers for `recipe`; `more` are those that strategies need."""
    on_cpu = not torch.accelerator.is_available()
    mixed = recipe.mixed_precision
    chosen: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulate,
        "train_sampling_strategy": "group_by_length",
        "use_cpu": on_cpu,
        "bf16": mixed == "bf16" or (mixed == "auto" and _bf16_is_fast()),
        "fp16": mixed == "fp16",
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_steps,
        "save_total_limit": _KEPT_CHECKPOINTS,
        "logging_steps": _REPORT_STEPS,
        "logging_nan_inf_filter": False,
        "seed": recipe.seed,
        "disable_tqdm": True,
        "log_level": "error",
        "report_to": "none",
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    if distributed.processes() > 1:
        chosen |= {"ddp_backend": "gloo" if on_cpu else None, "ddp_find_unused_parameters": False}
    if recipe.sharding == "full" and distributed.processes() > 1:
        chosen |= {"fsdp": True, "fsdp_config": {"auto_wrap_policy": "SIZE_BASED_WRAP"}}
    return _Arguments(**(chosen | more))


def _bf16_is_fast() -> bool:
    """Whether the device multiplies bfloat16 itself; emulated it is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def optimiser(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with the recipe's rate for each depth; no decay on biases and norms."""
    layers = int(getattr(getattr(model, "backbone", model).config, "num_hidden_layers", 0))
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        decay = recipe.weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault((rate(name, layers, recipe), decay), []).append(weight)
    return torch.optim.AdamW(
        [
            {"params": weights, "lr": lr, "weight_decay": decay}
            for (lr, decay), weights in groups.items()
        ],
        fused=True,
    )


def rate(name: str, layers: int, recipe: Recipe) -> float:
    """Learning rate by depth (Howard and Ruder, 2018): the head's, then falling downwards."""
    parts = name.split(".")
    if "head" in parts or "heads" in parts or "case" in parts:
        return recipe.head_learning_rate
    depth = layers + 1
    if "embeddings" in parts:
        depth = 0
    elif "layer" in parts:
        depth = int(parts[parts.index("layer") + 1]) + 1
    return recipe.learning_rate * recipe.layer_decay ** (layers + 1 - depth)
