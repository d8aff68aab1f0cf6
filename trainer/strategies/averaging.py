"""Averages of the weights along the way: flatter minima than where the last step ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from trainer import distributed
from trainer.strategies.base import Strategy, Work

_FILE: Final = "average.safetensors"


class Ema(Strategy, frozen=True, kw_only=True):
    """The moving average of the weights, newer ones counting more (Polyak; Tarvainen, 2017)."""

    decay: float = 0.998

    def callbacks(self, work: Work) -> list[Any]:
        """Keep the average."""
        # Young averages follow faster, or they would remember the untrained head.
        return [_Average(work, lambda n, _: min(self.decay, (1 + n) / (10 + n)))]


class Swa(Strategy, frozen=True, kw_only=True):
    """The plain mean over the last part of the training (Izmailov et al., 2018)."""

    last: float = 0.25
    """Share of the steps that is averaged."""

    def callbacks(self, work: Work) -> list[Any]:
        """Keep the mean."""
        return [_Average(work, lambda n, done: n / (n + 1) if done >= 1 - self.last else None)]


class _Average(TrainerCallback):  # type: ignore[misc]
    """Averages after each step; takes the weights' place at the end; lies in every checkpoint."""

    def __init__(self, work: Work, keep: Any) -> None:
        self._work = work
        self._keep = keep
        """From count of averaged steps and share of steps done to the share that stays, or None."""
        self._average: dict[str, torch.Tensor] = {}
        self._count = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Go on with the average of a resumed run."""
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
        if state.global_step and path.exists():
            found = load_file(path)
            self._count = int(found.pop("count").item())
            self._average = found

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Take the new weights in."""
        keep = self._keep(self._count, state.global_step / max(1, state.max_steps))
        if keep is None:
            return
        with torch.no_grad():
            for name, weight in self._weights():
                if self._count == 0:
                    self._average[name] = weight.detach().clone()
                else:
                    self._average[name].to(weight.device).lerp_(weight.detach(), 1 - keep)
        self._count += 1

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Before the checkpoint is sealed."""
        if self._average and distributed.is_first():
            whole = {name: tensor.cpu() for name, tensor in self._average.items()}
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
            save_file({**whole, "count": torch.tensor(self._count)}, path)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """The average is what was learned."""
        with torch.no_grad():
            for name, weight in self._weights():
                if name in self._average:
                    weight.copy_(self._average[name].to(weight.device))

    def _weights(self) -> Any:
        return (
            (name, weight)
            for name, weight in self._work.model.named_parameters()
            if weight.requires_grad
        )
