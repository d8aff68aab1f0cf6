"""The artefact's graph in ONNX Runtime, as its users call it: default session, padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from peer_inputs import Inputs
from peer_options import Request, answer
from tokenizers import Tokenizer

BATCH = 32


class OnnxModel:
    """Answers batches; the tokenizer pads each to its longest text."""

    def __init__(self, model: Path, precision: str) -> None:
        self._inputs = Inputs(model)
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.enable_truncation(self._inputs.max_tokens)
        self._tokenizer.enable_padding()
        self._session = onnxruntime.InferenceSession(
            str(model / f"model.{precision}.onnx"), providers=["CPUExecutionProvider"]
        )
        self._names = [one.name for one in self._session.get_inputs()]
        self.answers([{"id": "", "thread": "", "text": "warm up", "target": None}])

    def answers(self, requests: Sequence[Request]) -> list[dict[str, object]]:
        """Bodies of the answers, in the order of the requests."""
        pairs = [self._inputs.pair(one["text"], one.get("target")) for one in requests]
        found = self._tokenizer.encode_batch(
            [first if second is None else (first, second) for first, second in pairs]
        )
        given = {
            "input_ids": np.array([one.ids for one in found], dtype=np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], dtype=np.int64),
            "token_type_ids": np.array([one.type_ids for one in found], dtype=np.int64),
        }
        logits = self._session.run(None, {name: given[name] for name in self._names})[0]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = (exponents / exponents.sum(axis=1, keepdims=True)).tolist()
        labels = self._inputs.labels
        return [
            answer(request, labels[row.index(max(row))], dict(zip(labels, row, strict=True)))
            for request, row in zip(requests, shares, strict=True)
        ]

    def sorted_answers(self, requests: Sequence[Request]) -> list[dict[str, object]]:
        """The same, scored in batches of texts of like length, so that little is padding."""
        order = sorted(range(len(requests)), key=lambda place: len(requests[place]["text"]))
        said: dict[int, dict[str, object]] = {}
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            batch = self.answers([requests[place] for place in places])
            said.update(zip(places, batch, strict=True))
        return [said[place] for place in range(len(requests))]
