"""Tracking: TensorBoard event files always; MLflow and Weights & Biases where they are configured.

Configured means by their own environment variables: `MLFLOW_TRACKING_URI`, and `WANDB_PROJECT`
or `WANDB_API_KEY`. The packages come with `pip install 'headrace[tracking]'`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from trainer.errors import RefusedError

FOLDER: Final = "tensorboard"
"""In the run's folder."""
_TRACKERS: Final[dict[str, tuple[str, ...]]] = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "wandb": ("WANDB_PROJECT", "WANDB_API_KEY"),
}


def configured(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Trackers that the environment asks for.

    Raises:
        RefusedError: one of them is not installed.
    """
    asked = [
        name
        for name, variables in _TRACKERS.items()
        if any(environment.get(variable) for variable in variables)
    ]
    for name in asked:
        if find_spec(name) is None:
            raise RefusedError(
                f"{' or '.join(_TRACKERS[name])} is set but {name} is not installed: "
                "pip install 'headrace[tracking]', or unset the variable"
            )
    return asked


def callbacks(run: Path) -> list[Any]:
    """What looks on while a run in the folder `run` trains, and writes down what it sees.

    Raises:
        RefusedError: a tracker is configured and not installed.
    """
    from transformers import integrations  # noqa: PLC0415  (torch takes seconds)

    board = integrations.TensorBoardCallback()
    board.logging_dir = str(run / FOLDER)
    classes = {"mlflow": integrations.MLflowCallback, "wandb": integrations.WandbCallback}
    return [board, *(classes[name]() for name in configured())]


def figures(run: Path, step: int, found: Mapping[str, float]) -> None:
    """Write what a run came to, under `final/`."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    with SummaryWriter(log_dir=str(run / FOLDER)) as writer:
        for name, value in found.items():
            writer.add_scalar(f"final/{name}", value, step)
    named = {f"final/{name}": value for name, value in found.items()}
    for tracker in configured():
        if tracker == "mlflow":
            import mlflow  # type: ignore[import-not-found]  # noqa: PLC0415

            mlflow.log_metrics(named, step=step)
        else:
            import wandb  # type: ignore[import-not-found]  # noqa: PLC0415

            wandb.log(named, step=step)
