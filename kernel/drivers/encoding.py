"""What a model reads: a text as one window of tokens, or as several that overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kernel.artefact import Manifest
from kernel.drivers import words
from kernel.drivers.inputs import PAIRS, model_inputs
from schemas.errors import ErrorClass, Unanswerable
from schemas.limits import MAX_TEXT_TOKENS

CHUNK_CHARACTERS: Final = 262_144
"""Of text given to the tokenizer at once: its own records take some 150 bytes a token."""
_PROBES: Final = ("a", "the", "0", ".")


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What is scored as one: special tokens, the target if there is one, and a piece of text."""

    ids: NDArray[np.int32]
    """Shape [tokens]."""
    type_ids: NDArray[np.int8]
    """Shape [tokens]."""
    start: int
    """Index of the first token of the text in `ids`."""
    first: int
    """Index of that token among all of the text's."""
    content: int
    """Count of the text's tokens."""

    @property
    def tokens(self) -> int:
        """Length of the sequence, special tokens included."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One tokenised input."""

    text: str
    windows: tuple[Window, ...]
    """At least one."""
    spans: NDArray[np.int32] | None = None
    """Shape [tokens of the text, 3]: first character, the one behind the last, word."""
    refusal: Unanswerable | None = None
    """Why a service should not ask a model about it; it can be scored nonetheless."""

    @property
    def tokens(self) -> int:
        """Length of all windows together."""
        return sum(window.tokens for window in self.windows)

    def part(self, start: int, tokens: int) -> Encoding:
        """The windows from `start` on that fit into `tokens`, and at least one."""
        stop = start + 1
        size = self.windows[start].tokens
        while stop < len(self.windows):
            size += self.windows[stop].tokens
            if size > tokens:
                break
            stop += 1
        return Encoding(self.text, self.windows[start:stop])


class Encoder:
    """Turns texts and targets into windows of at most the model's length.

    Texts are tokenised once, without special tokens; those are put around each window as the
    tokenizer's own post-processor does. A target is kept whole, unless that would leave less
    than half of a window to a text that needs more.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, *, spans: bool, cut: bool) -> None:
        """`tokenizer` must neither cut nor pad.

        With `spans`, encodings know the places of tokens; with `cut`, they are one window.
        """
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._spans = spans
        self._cut = cut
        self._overlap = manifest.windows.overlap
        self._single = _Template.of(tokenizer, pair=False)
        self._pair = _Template.of(tokenizer, pair=True) if manifest.kind in PAIRS else None
        # encode_batch_fast leaves out the offsets, which are a third of the work.
        self._batch: Any = tokenizer.encode_batch if spans else tokenizer.encode_batch_fast
        # A feed asks about few targets, again and again.
        self._target = lru_cache(4_096)(self._target_ids)

    def __call__(self, texts: Sequence[str], targets: Sequence[str | None]) -> list[Encoding]:
        """Encodings of the texts, put to the model as in training."""
        inputs = model_inputs(self._manifest.kind, self._manifest.marking, texts, targets)
        read = [entry if isinstance(entry, str) else entry[1] for entry in inputs]
        encodings: list[Encoding] = []
        for piece in _chunks(read):
            for index, found in zip(
                range(piece.start, piece.stop),
                self._batch(read[piece], add_special_tokens=False),
                strict=True,
            ):
                entry = inputs[index]
                target = None if isinstance(entry, str) else entry[0]
                encodings.append(self._encoding(texts[index], found, target))
        return encodings

    def _encoding(self, text: str, found: Any, target: str | None) -> Encoding:
        ids: list[int] = found.ids
        count = len(ids)
        template = self._single
        about: list[int] = []
        if target is not None and self._pair is not None:
            template = self._pair
            about = self._target(target)
        room = self._manifest.max_tokens - template.specials
        if len(about) + count > room:
            about = about[: max(room // 2, room - count)]
        room -= len(about)
        refusal: Unanswerable | None = None
        if not count:
            refusal = Unanswerable(
                ErrorClass.EMPTY_TEXT, "nothing of the text is left after normalisation"
            )
        step = max(1, room - int(room * self._overlap))
        starts = range(1) if self._cut else range(0, max(1, count - room + step), step)
        most = max(1, MAX_TEXT_TOKENS // self._manifest.max_tokens)
        if len(starts) > most:
            refusal = Unanswerable(
                ErrorClass.TEXT_TOO_LONG,
                f"{count} tokens take {len(starts)} windows of {self._manifest.max_tokens} tokens; "
                f"at most {MAX_TEXT_TOKENS} tokens are read: split the text",
            )
            starts = starts[:most]
        return Encoding(
            text=text,
            windows=tuple(
                template.window(about, ids[start : start + room], start) for start in starts
            ),
            spans=_spans(found, text) if self._spans else None,
            refusal=refusal,
        )

    def _target_ids(self, target: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(target, add_special_tokens=False).ids
        return ids


@dataclass(frozen=True, slots=True)
class _Template:
    """The special tokens around a text, or around a target and a text; with their type ids."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: NDArray[np.int8]
    """Of: before, target, between, text, after. Shape [5]."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, pair: bool) -> _Template:
        """Read off what the tokenizer's post-processor does to a probe.

        Raises:
            ValueError: the tokenizer makes no tokens, or puts the text before the target.
        """
        for probe in _PROBES:
            found = tokenizer.encode(probe, probe) if pair else tokenizer.encode(probe)
            owners = found.sequence_ids
            if 0 in owners:
                break
        else:
            raise ValueError("the tokenizer makes no token of the simplest words")
        ids, types = found.ids, found.type_ids
        last = 1 if pair else 0
        begin, end = owners.index(last), len(owners) - owners[::-1].index(last)
        about = (owners.index(0), len(owners) - owners[::-1].index(0)) if pair else (begin, begin)
        if about[1] > begin:
            raise ValueError("the tokenizer puts the second text of a pair first")
        return cls(
            before=ids[: about[0]],
            between=ids[about[1] : begin],
            after=ids[end:],
            types=np.array(
                [
                    types[0],
                    types[about[0]],
                    types[about[1]] if about[1] < begin else types[begin],
                    types[begin],
                    types[end] if end < len(types) else types[begin],
                ],
                np.int8,
            ),
        )

    @property
    def specials(self) -> int:
        """Count of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def window(self, about: list[int], piece: list[int], first: int) -> Window:
        """The window that reads `piece`, whose first token is token `first` of the text."""
        # A tokenizer without special tokens makes nothing of nothing, but a graph needs a token.
        ids = self.before + about + self.between + piece + self.after or [0]
        lengths = [
            len(self.before),
            len(about),
            len(self.between),
            len(piece),
            len(self.after),
        ]
        return Window(
            ids=np.array(ids, np.int32),
            type_ids=np.repeat(self.types, lengths) if any(lengths) else np.zeros(1, np.int8),
            start=lengths[0] + lengths[1] + lengths[2],
            first=first,
            content=len(piece),
        )


def load_tokenizer(path: str) -> tuple[Tokenizer, int]:
    """A tokenizer that neither cuts nor pads, and the id that pads for its model."""
    tokenizer = Tokenizer.from_file(path)
    padding = tokenizer.padding
    pad = padding["pad_id"] if padding else None
    for token in ("[PAD]", "<pad>"):
        pad = tokenizer.token_to_id(token) if pad is None else pad
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, pad or 0


def _spans(found: Any, text: str) -> NDArray[np.int32]:
    spans = np.empty((len(found.ids), 3), np.int32)
    if len(spans):
        spans[:, :2] = found.offsets
        # By its last character: some tokenizers count the blank before a word as its own.
        spans[:, 2] = np.searchsorted(words.starts(text), spans[:, 1] - 1, side="right")
    return spans


def _chunks(texts: Sequence[str]) -> Iterator[slice]:
    """Slices of at most `CHUNK_CHARACTERS`, or of one text."""
    start = characters = 0
    for index, text in enumerate(texts):
        if characters and characters + len(text) > CHUNK_CHARACTERS:
            yield slice(start, index)
            start, characters = index, 0
        characters += len(text)
    if start < len(texts):
        yield slice(start, len(texts))
