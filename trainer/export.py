"""Export: a torch network as an ONNX graph, in fp32 and fp16."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
import torch

from trainer.errors import RefusedError
from trainer.network import Embedder

OPSET: Final = 17
"""Has LayerNormalization as one operator, and every ONNX Runtime of the last years reads it."""


class _ByPosition(torch.nn.Module):
    """The model as the exporter wants it: tensors by position instead of by name."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        named = dict(zip(self.model.inputs, inputs, strict=True))
        # The driver of embedders pools the last hidden states itself.
        said: torch.Tensor = (
            self.model.tokens(named) if isinstance(self.model, Embedder) else self.model(**named)
        )
        return said


def export_fp32(model: Any, path: Path) -> None:
    """Write `model` as a graph from int64 inputs [batch, length] to its answer.

    That is `logits` [batch, labels] or [batch, length, labels], or `tokens` [batch, length,
    hidden] of an embedder. The TorchScript exporter is used because the newer one needs
    onnxscript and several times the time; the axes of batch and length stay free in either.

    Raises:
        RefusedError: the model has parts that ONNX cannot say.
    """
    names = model.inputs
    output = "tokens" if isinstance(model, Embedder) else "logits"
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    axes = {name: {0: "batch", 1: "length"} for name in names}
    try:
        with _quietly():
            wrapped = _ByPosition(model.eval())
            with torch.no_grad():
                per_token = wrapped(*example).ndim == 3
            torch.onnx.export(
                wrapped,
                example,
                str(path),
                input_names=list(names),
                output_names=[output],
                dynamic_axes={
                    **axes,
                    output: {0: "batch", 1: "length"} if per_token else {0: "batch"},
                },
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise RefusedError(f"this backbone cannot be exported to ONNX: {error}") from error


def fp16(source: Path, target: Path) -> None:
    """Write the half-precision form of the graph `source` to `target`, for kernels on a GPU.

    Inputs and output keep their types; what half precision cannot hold stays in fp32.
    """
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415  (its package is slow to load)
        convert_float_to_float16,
    )

    with _quietly():
        made = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    onnx.save(made, str(target))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks about their own future."""
    logging.getLogger("root").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
