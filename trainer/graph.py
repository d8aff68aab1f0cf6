"""Asking an exported graph that gives tags or vectors, a batch of features at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kernel import artefact
from kernel.artefact import Precision
from kernel.drivers.precision import choose_precision
from trainer.dataset import Row
from trainer.encoding import batches, first_pieces, of_words
from trainer.errors import TrainerError

_BATCH: Final = 32


class Graph:
    """The graph of an artefact folder in one precision, and its tokenizer."""

    def __init__(self, folder: Path, precision: Precision | Literal["auto"]) -> None:
        manifest = artefact.read(folder)
        on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers() and (
            Path("/dev/nvidia0").exists()
        )
        self.labels = manifest.labels
        self.version = manifest.version
        self.precision: Precision = (
            choose_precision(manifest, gpu=on_gpu) if precision == "auto" else precision
        )
        if self.precision not in manifest.precisions:
            raise TrainerError(
                f"{folder} has no {self.precision} graph; there are "
                f"{', '.join(manifest.precisions)}"
            )
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / artefact.TOKENIZER))
            self._tokenizer.enable_truncation(manifest.max_tokens, strategy="longest_first")
            self._tokenizer.no_padding()
            self._session = onnxruntime.InferenceSession(
                str(folder / manifest.precisions[self.precision]),
                providers=(["CUDAExecutionProvider"] if on_gpu else []) + ["CPUExecutionProvider"],
            )
        except Exception as error:  # tokenizers and ONNX Runtime raise bare Exceptions
            raise TrainerError(f"the model in {folder} cannot be asked: {error}") from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._pad = self._tokenizer.token_to_id("[PAD]") or 0

    def tags(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Probabilities of every word's tags, shape [words of all rows, tags], in order."""
        found = self._tokenizer.encode_batch([row.text for row in rows])
        said = self._run(found)
        return np.concatenate(
            [
                of_words(_softmax(own), first_pieces(row.words, one.offsets))
                for row, one, own in zip(rows, found, said, strict=True)
            ]
        )

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, shape [texts, hidden]: the mean over each text's tokens."""
        means = np.stack(
            [tokens.mean(axis=0) for tokens in self._run(self._tokenizer.encode_batch(list(texts)))]
        )
        vectors: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    def _run(self, found: Sequence[Any]) -> list[NDArray[np.float32]]:
        """What the graph says to each text, [tokens, ...]."""
        said: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(found)
        for rows in batches([len(one.ids) for one in found], _BATCH):
            shape = (len(rows), max(len(found[row].ids) for row in rows))
            feed = {name: np.zeros(shape, np.int64) for name in self._inputs}
            feed["input_ids"][:] = self._pad
            for at, row in enumerate(rows):
                one = found[row]
                parts = {
                    "input_ids": one.ids,
                    "attention_mask": one.attention_mask,
                    "token_type_ids": one.type_ids,
                }
                for name in self._inputs:
                    feed[name][at, : len(one.ids)] = parts[name]
            (out,) = self._session.run(None, feed)
            for row, own in zip(rows, out, strict=True):
                said[row] = own[: len(found[row].ids)].astype(np.float32)
        return said


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: NDArray[np.float32] = exponents / exponents.sum(axis=-1, keepdims=True)
    return found
