"""Each kind of driver over a real graph whose answers can be worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel import artefact
from kernel.artefact import Kind, Windows
from kernel.drivers import device, opening
from kernel.drivers.base import DriverError, ExhaustedError, Outcome
from kernel.drivers.classifier import Classifier
from kernel.drivers.graph import GraphDriver
from kernel.drivers.words import starts as word_starts
from schemas.errors import ErrorClass
from schemas.limits import MAX_ENTITIES, MAX_TEXT_TOKENS
from tests.support import tiny_kinds
from tests.support.tiny_kinds import TAGS, WORDS

KINDS: tuple[Kind, ...] = tuple(opening.DRIVERS)


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, GraphDriver]:
    root = tmp_path_factory.mktemp("kinds")
    return {kind: opening.load(tiny_kinds.make(root / kind, kind), threads=1) for kind in KINDS}


def ask(driver: GraphDriver, text: str, target: str | None = "q") -> Outcome:
    (answer,) = driver.answers(driver.tokenize([text], [target]))
    return answer


def softmax(*logits: float) -> list[float]:
    weights = np.exp(logits)
    return [float(weight) for weight in weights / weights.sum()]


@pytest.mark.parametrize("kind", ["text-classifier", "pair-classifier"])
def test_a_classifier_gives_each_label_its_probability(
    drivers: dict[Kind, GraphDriver], kind: Kind
) -> None:
    answer = ask(drivers[kind], "good news")
    assert answer.label == "positive"
    assert list(answer.scores) == tiny_kinds.LABELS
    assert list(answer.scores.values()) == pytest.approx(softmax(0, 1, 3), abs=1e-6)


def test_a_pair_classifier_reads_its_target_and_a_text_classifier_does_not(
    drivers: dict[Kind, GraphDriver],
) -> None:
    assert ask(drivers["pair-classifier"], "news", "bad bad").label == "negative"
    assert ask(drivers["text-classifier"], "news", "bad bad").label == "neutral"
    assert ask(drivers["pair-classifier"], "news", None).label == "neutral"


def test_a_token_classifier_finds_names_where_they_stand_in_the_text(
    drivers: dict[Kind, GraphDriver],
) -> None:
    text = "🎉 Ádá  Lovelace, of London."
    found = ask(drivers["token-classifier"], text).entities
    assert [(one.label, one.text) for one in found] == [("PER", "Ádá  Lovelace"), ("LOC", "London")]
    assert all(text[one.start : one.end] == one.text for one in found)
    sure = np.mean([softmax(1, 5, 0, 0, 0)[1]])
    assert [one.score for one in found] == pytest.approx([sure, sure], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("London, the U.S. and AT&T's", ["London", ",", "the", "U.S.", "and", "AT&T", "'s"]),
        ("J. O'Neill (Anglo-American)", ["J.", "O'Neill", "(", "Anglo-American", ")"]),
        ("up 1,000.50% at 5 p.m.!", ["up", "1,000.50", "%", "at", "5", "p.m.", "!"]),
        ("  日本 🎉", ["日本", "🎉"]),
        ("", []),
    ],
)
def test_words_are_those_that_corpora_of_names_count(text: str, words: list[str]) -> None:
    starts = word_starts(text).tolist()
    pieces = pairwise([*starts, len(text)])
    assert [text[start:end].strip() for start, end in pieces] == words


def test_a_word_of_several_tokens_has_the_tag_of_its_first(
    drivers: dict[Kind, GraphDriver],
) -> None:
    # Of "london-other" the tokens are "london", "-" and "other": only the first says a place.
    found = ask(drivers["token-classifier"], "from London-other.").entities
    assert [(one.label, one.text) for one in found] == [("LOC", "London-other")]


def test_an_embedder_gives_the_mean_of_the_tokens_with_length_one(
    drivers: dict[Kind, GraphDriver],
) -> None:
    # [CLS] adds 0.5, "good" and "bad" 1 each, in dimensions of their own.
    expected = np.array([1, 1, 0, 0.5]) / np.linalg.norm([1, 1, 0, 0.5])
    vector = ask(drivers["embedder"], "good bad").vector
    assert vector == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_reranker_scores_a_text_for_its_query_and_asks_for_one(
    drivers: dict[Kind, GraphDriver],
) -> None:
    assert ask(drivers["reranker"], "good good news").score == 2.0
    assert ask(drivers["reranker"], "bad news").score == -1.0
    for missing in (None, "  "):
        (encoding,) = drivers["reranker"].tokenize(["good"], [missing])
        assert encoding.refusal is not None
        assert encoding.refusal.error_class is ErrorClass.WRONG_TYPE


words = st.sampled_from([*WORDS[4:9], "other", "words", "."])
texts = st.lists(words, min_size=1, max_size=60).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(batch=st.lists(texts, min_size=1, max_size=6))
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(
    drivers: dict[Kind, GraphDriver], kind: Kind, batch: list[str]
) -> None:
    driver = drivers[kind]
    together = driver.answers(driver.tokenize(batch, ["q"] * len(batch)))
    for text, answer in zip(batch, together, strict=True):
        alone = ask(driver, text)
        assert (alone.label, alone.entities, alone.score) == (
            answer.label,
            answer.entities,
            answer.score,
        )
        assert alone.scores == pytest.approx(answer.scores, abs=1e-5)
        assert alone.vector == pytest.approx(answer.vector, abs=1e-5)


@settings(max_examples=50)
@given(text=st.lists(words, max_size=10).map(" ".join), target=st.none() | texts)
def test_what_is_short_is_read_exactly_as_the_tokenizer_itself_would_put_it(
    drivers: dict[Kind, GraphDriver], text: str, target: str | None
) -> None:
    tokenizer = tiny_kinds.tokenizer()
    tokenizer.enable_truncation(16, strategy="longest_first")
    (encoding,) = drivers["pair-classifier"].tokenize([text], [target])
    if len(encoding.windows) > 1:
        return
    expected = tokenizer.encode(text) if target is None else tokenizer.encode(target, text)
    assert encoding.windows[0].ids.tolist() == expected.ids
    assert encoding.windows[0].type_ids.tolist() == expected.type_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_which_normalisation_leaves_nothing_is_refused_as_empty(
    drivers: dict[Kind, GraphDriver], kind: Kind
) -> None:
    (encoding,) = drivers[kind].tokenize(["\u200b\u200b"], ["q"])
    assert encoding.refusal is not None
    assert encoding.refusal.error_class is ErrorClass.EMPTY_TEXT


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_a_hundred_thousand_tokens_is_answered_or_refused(
    drivers: dict[Kind, GraphDriver], kind: Kind
) -> None:
    driver = drivers[kind]
    fits, too_long = driver.tokenize(
        [" ".join(["good"] * 50_000), " ".join(["good"] * 300_000)], ["q", "q"]
    )
    assert fits.refusal is None
    assert fits.tokens <= MAX_TEXT_TOKENS
    (answer,) = driver.answers([fits])
    assert answer.label in {"", "positive"}
    assert too_long.refusal is not None
    assert too_long.refusal.error_class is ErrorClass.TEXT_TOO_LONG
    assert too_long.tokens <= MAX_TEXT_TOKENS


def test_more_names_than_a_result_can_carry_are_refused(drivers: dict[Kind, GraphDriver]) -> None:
    driver = drivers["token-classifier"]
    (encoding,) = driver.tokenize(["london . " * (MAX_ENTITIES + 1)], [None])
    with pytest.raises(Exception, match="split it") as raised:
        driver.answers([encoding])
    assert getattr(raised.value, "error_class", None) is ErrorClass.TEXT_TOO_LONG


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_finite_are_no_answer(
    drivers: dict[Kind, GraphDriver], kind: Kind
) -> None:
    with pytest.raises(DriverError, match="NaN"):
        ask(drivers[kind], "explode")


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_another_shape_is_told_so(kind: Kind, tmp_path: Path) -> None:
    other: Kind = "reranker" if kind.endswith("-classifier") else "text-classifier"
    folder = tiny_kinds.make(tmp_path / "wrong", other, kind=kind, labels=_labels(kind))
    if kind == "embedder":  # any width is an embedding: none at all is not
        onnx.save(tiny_kinds.flat(), folder / "model.fp32.onnx")
    driver = opening.load(folder, threads=1)
    with pytest.raises(DriverError, match="shape"):
        ask(driver, "good")


def _labels(kind: Kind) -> list[str]:
    return TAGS if kind == "token-classifier" else tiny_kinds.LABELS


def test_a_damaged_graph_says_which_file_and_what_of(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier")
    graph = folder / "model.fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(DriverError, match=r"text-classifier v1: model.fp32.onnx cannot be loaded"):
        opening.load(folder)


def test_a_graph_of_an_opset_to_come_says_so(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier", opset=999)
    with pytest.raises(DriverError, match=r"(?i)opset"):
        opening.load(folder)


def test_a_model_larger_than_the_free_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier")
    monkeypatch.setattr(device, "free_bytes", lambda: 1_000)
    with pytest.raises(ExhaustedError, match="0 MB are free"):
        opening.load(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"windows": Windows(pooling="central")}, "pools windows by mean or max or first"),
        ({"precisions": {"int8": "model.int8.onnx"}}, "there is no fp32 graph, only int8"),
    ],
)
def test_a_manifest_that_asks_for_what_cannot_be_done_is_refused(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier", **fields)
    with pytest.raises(DriverError, match=said):
        opening.load(folder)


def test_labels_that_are_no_tags_are_refused(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "token-classifier", labels=["PER", "O"])
    with pytest.raises(DriverError, match='"O" first'):
        opening.load(folder)


def test_a_driver_opens_only_what_it_runs(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "embedder")
    with pytest.raises(DriverError, match="embedder is not what Classifier runs"):
        Classifier.load(folder)


def test_the_memory_of_a_driver_is_known(drivers: dict[Kind, GraphDriver], tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "embedder")
    graph = folder / artefact.graph_name("fp32")
    assert drivers["embedder"].memory_bytes == graph.stat().st_size


def test_every_driver_warms_up_and_unloads(tmp_path: Path) -> None:
    for kind in KINDS:
        driver = opening.load(tiny_kinds.make(tmp_path / kind, kind))
        driver.warm_up()
        driver.unload()
        with pytest.raises(DriverError):
            ask(driver, "good")
