"""A model artefact: one folder that holds all that it takes to serve a version.

    manifest.json       what it is, and the SHA-256 of every other file
    tokenizer.json      the fast tokenizer (Hugging Face tokenizers)
    model.fp32.onnx     one ONNX graph for each precision
    model.int8.onnx
    checkpoint/         safetensors and config.json, to train on from here
    card.md             the model card, for people

Artefacts lie in a store: a local folder or any fsspec URL. The kernel copies one
to its cache and checks every digest before it loads a byte of it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
from pathlib import Path
from typing import Annotated, Final, Literal

import fsspec
import msgspec

MANIFEST: Final = "manifest.json"
TOKENIZER: Final = "tokenizer.json"

Kind = Literal["text-classifier", "pair-classifier", "token-classifier", "embedder", "reranker"]
"""What a graph does; it takes int64 `input_ids`, `attention_mask` and `token_type_ids`, or
those of them that it names, each [batch, tokens], and has one output, float32 or float16:

- text-classifier, pair-classifier: logits [batch, labels];
- token-classifier: logits [batch, tokens, labels], labels in IOB2 with "O" first; the
  first token of a word (`kernel.drivers.words`) speaks for it;
- embedder: the last hidden states [batch, tokens, dimensions], which the driver pools, or
  vectors that the graph has pooled, [batch, dimensions];
- reranker: log-odds of relevance [batch, 1], of the pair (query, passage).
"""
Precision = Literal["fp32", "int8", "fp16"]
Marking = Literal["none", "mention"]
"""How the target of a pair is shown in the text; `kernel.drivers.inputs` does it."""


Pooling = Literal["mean", "max", "central", "first"]
"""How the windows of a long text become one answer; `kernel.drivers.pooling` says how."""


class ArtefactError(Exception):
    """An artefact that cannot be used; the message says what to do."""


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """How a text longer than `max_tokens` is read: in windows that overlap."""

    overlap: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.25
    """Share of a window that the next one reads again."""
    pooling: Pooling | None = None
    """None: that of the kind. Classifiers, embedders: mean; rerankers: max; token
    classifiers: central. With `first` only the first window is read."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact is; the digest of this file names the artefact."""

    task: str
    version: str
    kind: Kind
    labels: list[str]
    """In the order of the logits; empty for embedders and rerankers."""
    out_of_scope: str = ""
    """Which of them says that none of the others fits; empty where none does."""
    max_tokens: Annotated[int, msgspec.Meta(ge=8)]
    """Longest sequence that the model takes, special tokens included."""
    windows: Windows = Windows()
    marking: Marking = "none"
    """What was done to the text in training, and must be done again to serve."""
    precisions: dict[Precision, str]
    """File name of the ONNX graph for each precision exported."""
    agreement: dict[Precision, float]
    """How far a precision agrees with fp32: share of evaluation rows with the same label, of
    tokens with the same tag; mean cosine of embeddings; share of pairs in the same order."""
    metrics: dict[str, float]
    learned_until: dict[str, int] = {}
    """Offsets of `labels.examples` by partition: the labels before them were known to the run.
    The next version is judged by those of them that were held back. Empty: made from files."""
    held_back: float | None = None
    """Share of the texts that the run learned nothing from (`trainer.dataset.is_held_back`);
    unknown for artefacts made from files."""
    files: dict[str, str]
    """SHA-256 of each file, by its path inside the folder."""


def graph_name(precision: Precision) -> str:
    """File name of the ONNX graph of a precision."""
    return f"model.{precision}.onnx"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, manifest: Manifest) -> str:
    """Write `manifest` with the digests of all files in `folder`; return its own digest."""
    files = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    sealed = msgspec.structs.replace(manifest, files=files)
    target = folder / MANIFEST
    target.write_bytes(msgspec.json.format(msgspec.json.encode(sealed)))
    return sha256(target)


def read(folder: Path) -> Manifest:
    """The manifest of a local artefact folder.

    Raises:
        ArtefactError: where there is none, or it cannot be read.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtefactError(f"{folder} holds no readable model manifest: {error}") from error


def publish(folder: Path, store: str) -> str:
    """Copy a sealed artefact into the store; return its address there.

    The manifest travels last: an artefact without one is not complete.
    """
    manifest = read(folder)
    address = f"{store.rstrip('/')}/{manifest.task}/{manifest.version}"
    filesystem, root = fsspec.url_to_fs(address)
    for name in (*manifest.files, MANIFEST):
        target = f"{root}/{name}"
        filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        filesystem.put_file(str(folder / name), target)
    return address


def fetch(address: str, digest: str, cache: Path) -> Path:
    """Local folder with the artefact at `address`, every file checked.

    Raises:
        ArtefactError: the store cannot be reached, the cache's disk is full, or a digest differs.
    """
    folder = cache / digest
    try:
        if not (folder / MANIFEST).exists():
            _place(address, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtefactError(
                f"no space for {address} in {cache}: free some on that disk"
            ) from error
        raise ArtefactError(
            f"the model store does not give {address}: {error}; "
            "check HEADRACE_MODEL_STORE and that the store can be reached"
        ) from error
    try:
        _check(folder, address, digest)
    except ArtefactError:
        shutil.rmtree(folder, ignore_errors=True)  # so that a mended store is read again
        raise
    return folder


def _place(address: str, folder: Path) -> None:
    """Copy the artefact and give it its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another kernel may be fetching the same version
        if (folder / MANIFEST).exists():
            return
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _copy(address, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def _copy(address: str, folder: Path) -> None:
    filesystem, root = fsspec.url_to_fs(address)
    filesystem.get_file(f"{root}/{MANIFEST}", str(folder / MANIFEST))
    for name in read(folder).files:
        target = (folder / name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise ArtefactError(f"{address}: {name!r} would lie outside the artefact's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(f"{root}/{name}", str(target))


def _check(folder: Path, address: str, digest: str) -> None:
    if sha256(folder / MANIFEST) != digest:
        raise ArtefactError(f"{address}: the manifest is not the one announced (SHA-256 differs)")
    for name, expected in read(folder).files.items():
        path = folder / name
        if not path.exists() or sha256(path) != expected:
            raise ArtefactError(
                f"{address}: {name} is damaged (SHA-256 differs); announce the version again "
                "or roll back: headrace models rollback"
            )
