"""Text and pair classifiers over ONNX Runtime, on CUDA where there is one, else the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kernel import artefact
from kernel.artefact import Manifest, Precision
from kernel.drivers.base import DriverError, Encoding
from kernel.drivers.inputs import model_inputs

MIN_AGREEMENT: Final = 0.99
"""A precision that gives the fp32 label less often than this is not served."""


def choose_precision(manifest: Manifest, *, cuda: bool) -> Precision:
    """The fastest precision of the artefact that agrees with fp32 well enough."""
    fast: Precision = "fp16" if cuda else "int8"
    agrees = manifest.agreement.get(fast, 0.0) >= MIN_AGREEMENT
    return fast if agrees and fast in manifest.precisions else "fp32"


class Classifier:
    """A sequence classifier: text, or (target, text) as a pair, to label probabilities."""

    def __init__(
        self, manifest: Manifest, precision: Precision, tokenizer: Tokenizer, session: Any
    ) -> None:
        self.version = manifest.version
        self.labels: Sequence[str] = manifest.labels
        self.precision: Precision = precision
        self._kind = manifest.kind
        self._marking = manifest.marking
        self._tokenizer = tokenizer
        self._session = session
        self._inputs = {entry.name for entry in session.get_inputs()}
        self._pad = tokenizer.token_to_id("[PAD]") or 0

    @classmethod
    def load(
        cls,
        folder: Path,
        precision: Precision | Literal["auto"] = "auto",
        threads: int | None = None,
    ) -> Classifier:
        """Load an artefact folder; `threads` defaults to the cores this process may use.

        Raises:
            ArtefactError: without a readable manifest.
            DriverError: where ONNX Runtime or the tokenizer refuses the files.
        """
        manifest = artefact.read(folder)
        providers = _providers()
        chosen = (
            choose_precision(manifest, cuda="CUDAExecutionProvider" in providers)
            if precision == "auto"
            else precision
        )
        try:
            tokenizer = Tokenizer.from_file(str(folder / artefact.TOKENIZER))
            tokenizer.enable_truncation(manifest.max_tokens, strategy="longest_first")
            tokenizer.no_padding()
            session = onnxruntime.InferenceSession(
                str(folder / manifest.precisions[chosen]),
                sess_options=_options(threads or usable_cores()),
                providers=providers,
            )
        except KeyError as error:
            raise DriverError(f"{manifest.version} has no {chosen} graph") from error
        except Exception as error:  # tokenizers and ONNX Runtime raise bare Exceptions
            raise DriverError(f"{manifest.task} {manifest.version}: {error}") from error
        return cls(manifest, chosen, tokenizer, session)

    def tokenize(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of the texts, put to the model as in training."""
        inputs = model_inputs(self._kind, self._marking, texts, targets)
        return [
            Encoding(np.array(found.ids, np.int64), np.array(found.type_ids, np.int64))
            for found in self._tokenizer.encode_batch(inputs)
        ]

    def forward(self, batch: Sequence[Encoding]) -> NDArray[np.float32]:
        """Probabilities, shape [len(batch), labels]; the batch is padded to its longest."""
        shape = (len(batch), max(encoding.tokens for encoding in batch))
        ids = np.full(shape, self._pad, np.int64)
        mask = np.zeros(shape, np.int64)
        type_ids = np.zeros(shape, np.int64)
        for row, encoding in enumerate(batch):
            ids[row, : encoding.tokens] = encoding.ids
            mask[row, : encoding.tokens] = 1
            type_ids[row, : encoding.tokens] = encoding.type_ids
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": type_ids}
        try:
            (logits,) = self._session.run(
                None, {name: array for name, array in feed.items() if name in self._inputs}
            )
        except Exception as error:  # ONNX Runtime raises bare Exceptions
            raise DriverError(f"{self.version} {self.precision}: {error}") from error
        if logits.shape != (len(batch), len(self.labels)) or not np.isfinite(logits).all():
            raise DriverError(
                f"{self.version} {self.precision} gave NaN or the shape {logits.shape}"
            )
        return _softmax(logits.astype(np.float32))

    def warm_up(self) -> None:
        """One short and one long forward pass."""
        for text in ("warm", "warm " * 128):
            self.forward(self.tokenize([text], ["up"]))


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _providers() -> list[str]:
    available = onnxruntime.get_available_providers()
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    # The GPU wheel lists CUDA also where there is none; a device node tells.
    if not Path("/dev/nvidia0").exists():
        wanted = ["CPUExecutionProvider"]
    return [provider for provider in wanted if provider in available]


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle workers that spin would take the cores from the broker and the agents.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
