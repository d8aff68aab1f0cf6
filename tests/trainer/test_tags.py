"""Tags of words: from a CoNLL file to an exported graph that names entities."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score  # type: ignore[import-untyped]
from seqeval.scheme import IOB2  # type: ignore[import-untyped]

from kernel import artefact
from tests.support.tiny_backbone import tiny_backbone
from trainer import commands, entity_metrics, files
from trainer.encoding import first_pieces
from trainer.entity_metrics import EntityReport
from trainer.errors import TrainerError

PEOPLE = ("Anna Berg", "Carl", "Dora Fink", "Emil", "Fanny Holm", "Gustav")
PLACES = ("Oslo", "New Bergen", "Lund", "Old Malmo")
VERBS = ("visits", "leaves", "loves", "paints", "sees")


def conll() -> str:
    """120 sentences: who is where. Capitals alone tell that there is an entity."""
    lines = ["-DOCSTART- -X- O O", ""]
    for person in PEOPLE:
        for place in PLACES:
            for verb in VERBS:
                for kind, words in (("PER", person), ("", verb), ("LOC", place), ("", ".")):
                    tag = f"I-{kind}" if kind else "O"
                    lines += [f"{word} X X {tag}" for word in words.split()]
                lines.append("")
    return "\n".join(lines)


def test_a_conll_file_becomes_rows_with_bio_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\nAnna I-PER\nBerg I-PER\nCarl B-PER\nleaves O\n\nOslo I-LOC")
    first, second = files.read_conll(path)
    assert first.text == "Anna Berg Carl leaves"
    assert first.tags == ("B-PER", "I-PER", "B-PER", "O")
    assert second.tags == ("B-LOC",)


def test_a_line_without_a_tag_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Anna I-PER\nBerg\n")
    with pytest.raises(TrainerError, match=r"a\.conll:2: a line of a CoNLL file is a word"):
        files.read_conll(path)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=1))
def test_each_word_is_answered_for_by_its_first_piece(words: list[str]) -> None:
    text = " ".join(words)
    # Pieces of two characters that never cross a space, as a tokenizer would cut.
    offsets = [(0, 0)]
    at = 0
    for word in words:
        offsets += [(at + n, min(at + n + 2, at + len(word))) for n in range(0, len(word), 2)]
        at += len(word) + 1
    found = first_pieces(words, offsets)
    begins = [offsets[token][0] for token in found if token is not None]
    assert begins == [sum(len(word) + 1 for word in words[:n]) for n in range(len(words))]
    assert len(text) == at - 1
    cut = first_pieces(words, offsets[:2])
    assert cut[0] == 1
    assert all(one is None for one in cut[1:])


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@given(st.data())
def test_entity_f1_is_that_of_seqeval(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    tags = st.sampled_from(TAGS)
    right = [
        entity_metrics.repaired(data.draw(st.lists(tags, min_size=n, max_size=n))) for n in lengths
    ]
    said = [
        entity_metrics.repaired(data.draw(st.lists(tags, min_size=n, max_size=n))) for n in lengths
    ]
    flat = [TAGS.index(tag) for one in said for tag in one]
    report = entity_metrics.of_tags(np.eye(5, dtype=np.float32)[flat], right, TAGS)
    expected = f1_score(right, said, mode="strict", scheme=IOB2, zero_division=0)
    assert report.entity_f1 == pytest.approx(expected)
    counts = [entity_metrics._counts(*pair) for pair in zip(right, said, strict=True)]
    hits, given_, there = np.array(counts).sum(axis=0)
    assert 2 * hits / max(given_ + there, 1) == pytest.approx(expected)
    words = [a == b for x, y in zip(right, said, strict=True) for a, b in zip(x, y, strict=True)]
    assert report.token_micro_f1 == pytest.approx(sum(words) / len(words))


def test_entities_are_learned_exported_and_measured_through_the_graph(tmp_path: Path) -> None:
    text = conll()
    backbone = tiny_backbone(tmp_path / "backbone", [text.replace("X X", "")])
    data = tmp_path / "train.conll"
    data.write_text(text)
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        f'backbone = "{backbone}"\ncased = true\nmax_steps = 60\nlearning_rate = 3e-3\n'
        'head_learning_rate = 1e-2\nmax_tokens = 32\nheld_back = 0.2\nmixed_precision = "off"\n'
        'precisions = ["int8", "fp16"]\n'
    )
    out = tmp_path / "model"
    report = commands.train("entities", data, out=out, recipe=str(recipe))
    assert isinstance(report, EntityReport)
    assert report.entity_f1 > 0.95
    manifest = artefact.read(out)
    assert manifest.kind == "token-classifier"
    assert manifest.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert set(manifest.precisions) == {"fp32", "int8", "fp16"}
    cased = report
    for precision in manifest.precisions:
        found = commands.evaluate(out, data, precision)
        assert isinstance(found, EntityReport)
        cased = found
        assert found.entity_f1 > 0.95
        assert found.precision == precision
        assert {"LOC", "PER"} == set(found.per_entity)
    # Capitals are what was learned from: without them names are hardly found any more.
    small = tmp_path / "small.conll"
    small.write_text("\n".join(_lowered(line) for line in text.splitlines()))
    assert msgspec.json.encode(report)
    lowered = commands.evaluate(out, small)
    assert isinstance(lowered, EntityReport)
    assert lowered.entity_f1 < cased.entity_f1


def _lowered(line: str) -> str:
    word, _, rest = line.partition(" ")
    return line if word.startswith("-") else f"{word.lower()} {rest}".rstrip()
