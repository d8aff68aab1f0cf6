"""What all drivers over ONNX Runtime share: loading, tokenizing, and batches of windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from kernel import artefact
from kernel.artefact import Kind, Manifest, Pooling, Precision
from kernel.drivers import device as devices
from kernel.drivers import pooling, shapes
from kernel.drivers.base import DriverError, Outcome, Output
from kernel.drivers.encoding import Encoder, Encoding, Window, load_tokenizer
from kernel.drivers.precision import choose_precision
from kernel.drivers.session import Place, Session, graph_bytes

WARM_TOKENS: Final = 8_192
"""Padded tokens of the largest batch that a GPU is warmed up with."""
MOST_TOKENS: Final = 16_384
"""Padded tokens of one pass: it bounds memory whatever is asked at once."""


class GraphDriver:
    """A graph, its tokenizer and what its manifest says; subclasses know what it means."""

    kinds: ClassVar[frozenset[Kind]]
    poolings: ClassVar[tuple[Pooling, ...]]
    """What it can do with the windows of a long text; the first is its own choice."""
    spans: ClassVar[bool] = False
    """Whether places of characters are needed."""

    def __init__(
        self, manifest: Manifest, precision: Precision, folder: Path, session: Session
    ) -> None:
        """Put together what was loaded.

        Raises:
            ValueError: the tokenizer is of no use.
        """
        self.version = manifest.version
        self.labels: Sequence[str] = manifest.labels
        self.precision: Precision = precision
        self.memory_bytes = graph_bytes(folder / manifest.precisions[precision])
        self._max_tokens = manifest.max_tokens
        self._session = session
        tokenizer, self._pad = load_tokenizer(str(folder / artefact.TOKENIZER))
        self._pooling: Pooling = manifest.windows.pooling or self.poolings[0]
        self._encode = Encoder(manifest, tokenizer, spans=self.spans, cut=self._pooling == "first")

    @classmethod
    def load(
        cls,
        folder: Path,
        precision: Precision | Literal["auto"] = "auto",
        threads: int | None = None,
        *,
        device: str = "auto",
        gpu_mb: float = 0.0,
    ) -> Self:
        """Load an artefact folder; a pass uses `threads`, by default every core.

        `device` is as in `kernel.drivers.device.find`; `gpu_mb` bounds the memory of a GPU.

        Raises:
            ArtefactError: without a readable manifest.
            DriverError: the files, the device or the memory do not do.
        """
        manifest = artefact.read(folder)
        name = f"{manifest.task} {manifest.version}"
        try:
            cls._check(manifest)
            found = devices.find(device)
            chosen = choose_precision(manifest, precision, gpu=found.gpu)
            place = Place(
                found,
                threads or devices.usable_cores(),
                folder.parent / "engines",
                gpu_mb=gpu_mb,
                rows=shapes.rows(max(1, WARM_TOKENS // manifest.max_tokens)),
                tokens=manifest.max_tokens,
            )
            graph = folder / manifest.precisions[chosen]
            session = Session.open(graph, place, fp16=chosen == "fp16")
            return cls(manifest, chosen, folder, session)
        except DriverError as error:
            raise type(error)(f"{name}: {error}") from error
        except Exception as error:  # tokenizers raises bare Exceptions
            raise DriverError(f"{name}: the tokenizer cannot be used: {error}") from error

    @classmethod
    def _check(cls, manifest: Manifest) -> None:
        """Refuse a manifest that says what this driver cannot do."""
        if manifest.kind not in cls.kinds:
            raise DriverError(f"a {manifest.kind} is not what {cls.__name__} runs")
        wanted = manifest.windows.pooling
        if wanted is not None and wanted not in cls.poolings:
            raise DriverError(
                f"a {manifest.kind} pools windows by {' or '.join(cls.poolings)}, not {wanted}"
            )

    def tokenize(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of the texts, put to the model as in training."""
        try:
            return self._encode(texts, targets)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise DriverError(f"{self.version}: the tokenizer failed: {error}") from error

    def forward(self, batch: Sequence[Encoding]) -> list[Output]:
        """What the graph says to each input; windows are padded to their longest."""
        windows = [window for encoding in batch for window in encoding.windows]
        longest = max(window.tokens for window in windows)
        said: list[NDArray[np.float32]] = []
        # An engine's batches are smaller than this; a text as long as a book is not.
        most = max(1, MOST_TOKENS // longest)
        try:
            for start in range(0, len(windows), most):
                said += self._pass(windows[start : start + most])
        except DriverError as error:
            raise type(error)(f"{self.version} {self.precision}: {error}") from error
        if len(said) == len(batch):
            return [(one,) for one in said]
        rest = iter(said)
        return [[next(rest) for _ in encoding.windows] for encoding in batch]

    def _pass(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        count, length = len(windows), max(window.tokens for window in windows)
        if self._session.device.gpu:
            count, length = shapes.rows(count), shapes.length(length, self._max_tokens)
        ids = np.full((count, length), self._pad, np.int64)
        mask = np.zeros((count, length), np.int64)
        type_ids = np.zeros((count, length), np.int64)
        for row, window in enumerate(windows):
            ids[row, : window.tokens] = window.ids
            mask[row, : window.tokens] = 1
            type_ids[row, : window.tokens] = window.type_ids
        # A row of nothing but padding would give NaN; what fills the shape is the first again.
        for array in (ids, mask, type_ids):
            array[len(windows) :] = array[0]
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": type_ids}
        return self._outputs(self._session.run(feed), mask, windows)

    def warm_up(self) -> None:
        """Each shape to come on a GPU; one short and one long pass on a CPU."""
        window = self.tokenize(["warm"], ["up"])[0].windows[0]
        on_gpu = self._session.device.gpu
        lengths = (
            list(shapes.lengths(self._max_tokens)) if on_gpu else [8, min(128, self._max_tokens)]
        )
        for length in lengths:
            repeated = Window(
                np.resize(window.ids, length), np.resize(window.type_ids, length), 0, 0, length
            )
            self._pass([repeated])
            if on_gpu:
                self._pass([repeated] * shapes.rows(max(1, WARM_TOKENS // length)))

    def interrupt(self, thread: int) -> None:
        """Let the pass that runs on that thread fail before its next operator."""
        self._session.interrupt(thread)

    def unload(self) -> None:
        """Free the graph's memory.

        Only where nothing will be asked any more: a driver that others still hold is better
        left to them, and is freed with the last of them.
        """
        self._session.close()

    def answers(self, encodings: Sequence[Encoding]) -> list[Outcome]:
        """The answers to a batch, for use without an engine."""
        return [
            self.post(encoding, output)
            for encoding, output in zip(encodings, self.forward(encodings), strict=True)
        ]

    def post(self, encoding: Encoding, output: Output) -> Outcome:
        """The answer to an input, from what was said to all of its windows."""
        raise NotImplementedError

    def _outputs(
        self, output: NDArray[np.float32], mask: NDArray[np.int64], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        """What a graph's output, of the shape of `mask` and more, says to each window.

        Raises:
            DriverError: it is NaN or of another shape.
        """
        raise NotImplementedError

    def _pooled(self, encoding: Encoding, output: Output) -> NDArray[np.float32]:
        """One array for all windows, as the manifest says."""
        if len(output) == 1:
            return output[0]
        if self._pooling == "max":
            return pooling.highest(output)
        if self._pooling == "central":
            return pooling.central(encoding.windows, output)
        return pooling.mean(encoding.windows, output)


def need(output: NDArray[np.float32], *shape: int) -> None:
    """Refuse an output of another shape, or with NaN or infinities.

    Raises:
        DriverError: with the shape that came.
    """
    if output.shape != shape:
        raise DriverError(f"the model gave the shape {output.shape} where {shape} is right")
    if not np.isfinite(output).all():
        raise DriverError("the model gave NaN or infinity")
