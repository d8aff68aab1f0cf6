"""A version that looks good until a word comes that it cannot read.

It is the live version's own artefact with the vector of one token made infinite: on every
text without that token it says exactly what the live one says, so no gate and no shadow
finds fault with it. It is what a canary is for.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper
from tokenizers import Tokenizer

from kernel import artefact
from schemas.events import ModelVersion
from schemas.ids import model_key

_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def make(
    live: ModelVersion, version: str, word: str, *, cache: Path, store: str, scratch: Path
) -> ModelVersion:
    """Publish such a version of a live one; it is a candidate.

    Raises:
        ValueError: the word is not one token of the model, or no graph looks tokens up in it.
    """
    folder = scratch / version
    shutil.copytree(artefact.fetch(live.artefact, live.digest, cache), folder)
    token = Tokenizer.from_file(str(folder / artefact.TOKENIZER)).token_to_id(word)
    if token is None:
        raise ValueError(f"{word!r} is not one token of {live.version}")
    manifest = artefact.read(folder)
    for name in manifest.precisions.values():
        _spoil(folder / name, token)
    digest = artefact.seal(folder, msgspec.structs.replace(manifest, version=version))
    return ModelVersion(
        id=model_key(live.task, version),
        task=live.task,
        version=version,
        state="candidate",
        labels=live.labels,
        artefact=artefact.publish(folder, store),
        digest=digest,
        metrics=live.metrics,
        reason="as good as the live version, says its maker",
        changed_at=datetime.now(UTC),
    )


def _spoil(path: Path, token: int) -> None:
    """Make the row of one token infinite in the table that `input_ids` are looked up in."""
    model = onnx.load(path)
    tables = {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[1] == "input_ids"
    }
    found = [
        one for one in model.graph.initializer if one.name in tables and one.data_type in _FLOATS
    ]
    if not found:
        raise ValueError(f"{path}: nothing looks `input_ids` up in a table of floats")
    for one in found:
        table = numpy_helper.to_array(one).copy()
        table[token] = np.inf
        one.CopyFrom(numpy_helper.from_array(table, one.name))
    onnx.save(model, path)
