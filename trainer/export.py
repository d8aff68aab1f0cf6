"""Export: a torch classifier as an ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from trainer.errors import RefusedError
from trainer.network import TextClassifier

OPSET: Final = 17
"""Has LayerNormalization as one operator, and every ONNX Runtime of the last years reads it."""


class _ByPosition(torch.nn.Module):
    """The model as the exporter wants it: tensors by position instead of by name."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.model.inputs, inputs, strict=True)))
        return logits


def export_fp32(model: TextClassifier, path: Path) -> None:
    """Write `model` as a graph from int64 inputs [batch, length] to `logits` [batch, labels].

    The TorchScript exporter is used because the newer one needs onnxscript and several
    times the time; both axes stay free in either.

    Raises:
        RefusedError: the model has parts that ONNX cannot say.
    """
    names = model.inputs
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    try:
        with _quietly():
            torch.onnx.export(
                _ByPosition(model.eval()),
                example,
                str(path),
                input_names=list(names),
                output_names=["logits"],
                dynamic_axes={**axes, "logits": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise RefusedError(f"this backbone cannot be exported to ONNX: {error}") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks about their own future."""
    logging.getLogger("root").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
