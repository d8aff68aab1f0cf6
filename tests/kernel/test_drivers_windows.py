"""Long texts: every token is read, and the pooling is the one that is written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.artefact import Kind, Windows
from kernel.drivers import bio, opening, pooling, shapes
from kernel.drivers.encoding import Encoding, Window
from kernel.drivers.graph import GraphDriver
from tests.support import tiny_kinds
from tests.support.tiny_kinds import TAGS


def windows_of(count: int, room: int, step: int) -> list[Window]:
    starts = range(0, max(1, count - room + step), step)
    none = np.zeros(0, np.int8)
    return [
        Window(np.zeros(room + 2, np.int32), none, 1, start, min(room, count - start))
        for start in starts
    ]


def load(folder: Path, kind: Kind, **windows: object) -> GraphDriver:
    made = tiny_kinds.make(folder, kind, windows=Windows(**windows))  # type: ignore[arg-type]
    return opening.load(made, threads=1)


@settings(max_examples=60)
@given(
    length=st.integers(0, 120),
    about=st.none() | st.integers(0, 30),
    overlap=st.floats(0, 0.5),
)
def test_windows_read_every_token_keep_the_target_and_never_outgrow_the_model(
    length: int, about: int | None, overlap: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver = load(tmp_path_factory.mktemp("m"), "pair-classifier", overlap=overlap)
    target = None if about is None else " ".join(["bad"] * about)
    (encoding,) = driver.tokenize([" ".join(["good"] * length)], [target])
    read: set[int] = set()
    for window in encoding.windows:
        assert window.tokens <= 16
        assert window.ids[window.start : window.start + window.content].tolist() == (
            [tiny_kinds.WORDS.index("good")] * window.content
        )
        assert (window.ids == tiny_kinds.WORDS.index("bad")).sum() >= min(about or 0, 6)
        read |= set(range(window.first, window.first + window.content))
    assert read == set(range(length))


def test_a_text_that_fits_is_one_window(tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "text-classifier")
    one, two = driver.tokenize([" ".join(["good"] * 14), " ".join(["good"] * 15)], [None, None])
    assert [len(one.windows), len(two.windows)] == [1, 2]


def test_a_classifier_has_the_mean_of_its_windows_logits_by_tokens(tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "text-classifier", overlap=0.0)
    (encoding,) = driver.tokenize([" ".join(["good"] * 14 + ["bad"] * 6)], [None])
    assert [window.tokens for window in encoding.windows] == [16, 8]
    logits = (16 * np.array([0, 1, 42]) + 8 * np.array([18, 1, 0])) / 24
    weights = np.exp(logits - logits.max())
    (answer,) = driver.answers([encoding])
    assert list(answer.scores.values()) == pytest.approx(weights / weights.sum(), abs=1e-6)


def test_a_reranker_lets_the_best_passage_speak(tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "reranker", overlap=0.0)
    text = " ".join(["bad"] * 12 + ["good"] * 5 + ["other"] * 30)
    (answer,) = driver.answers(driver.tokenize([text], ["q"]))
    assert answer.score == 5.0


def test_an_embedder_has_the_mean_of_its_windows_by_tokens(tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "embedder", overlap=0.0)
    (answer,) = driver.answers(driver.tokenize([" ".join(["good"] * 14 + ["bad"] * 6)], [None]))
    # Over both windows together: 14 "good", 6 "bad", and a [CLS] of 0.5 in each.
    whole = np.array([14, 6, 0, 1.0])
    assert answer.vector == pytest.approx(whole / np.linalg.norm(whole), abs=1e-6)


def test_where_a_manifest_says_first_the_rest_is_not_read(tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "text-classifier", pooling="first")
    (encoding,) = driver.tokenize([" ".join(["good"] * 14 + ["bad"] * 60)], [None])
    assert len(encoding.windows) == 1
    assert driver.answers([encoding])[0].label == "positive"


@pytest.mark.parametrize("place", range(60))
def test_a_name_is_found_once_wherever_windows_are_cut(place: int, tmp_path: Path) -> None:
    driver = load(tmp_path / "m", "token-classifier")
    words = ["other"] * 60
    words[place : place + 2] = ["ada", "lovelace"]
    text = " ".join(words)
    (answer,) = driver.answers(driver.tokenize([text], [None]))
    assert [one.text for one in answer.entities] == ["ada lovelace"]
    assert answer.entities[0].start == text.index("ada")


@given(count=st.integers(1, 200), room=st.integers(2, 40), share=st.floats(0, 0.5))
def test_a_token_has_its_tag_from_the_window_in_which_it_stands_furthest_from_a_cut(
    count: int, room: int, share: float
) -> None:
    step = max(1, room - int(room * share))
    windows = windows_of(count, room, step)
    # Each output says which token it is about, and how far that token is from a cut.
    outputs = []
    for index, window in enumerate(windows):
        tokens = np.arange(window.first, window.first + window.content)
        left = tokens - window.first + (1_000 if index == 0 else 0)
        last = index == len(windows) - 1
        right = window.first + window.content - 1 - tokens + (1_000 if last else 0)
        outputs.append(np.stack([tokens, np.minimum(left, right)], axis=1).astype(np.float32))
    merged = pooling.central(windows, outputs)
    assert merged[:, 0].tolist() == list(range(count))
    best = np.zeros(count)
    for output in outputs:
        places = output[:, 0].astype(int)
        best[places] = np.maximum(best[places], output[:, 1])
    assert merged[:, 1].tolist() == best.tolist()


@given(st.lists(st.sampled_from(TAGS), max_size=30))
def test_entities_are_those_that_a_reader_of_the_tags_would_mark(tags: list[str]) -> None:
    marked: list[list[object]] = []
    before = "O"
    for place, tag in enumerate(tags):
        if tag.startswith("B-") or (tag != "O" and tag[2:] != before[2:]):
            marked.append([place, place + 1, tag[2:]])
        elif tag != "O":
            marked[-1][1] = place + 1
        before = tag
    numbers = np.array([TAGS.index(tag) for tag in tags], np.int64)
    assert bio.spans(bio.Scheme.of(TAGS), numbers) == [tuple(one) for one in marked]


@given(st.integers(1, 40), st.integers(1, 200))
def test_parts_of_a_text_are_all_its_windows_in_order_and_fit_the_budget(
    count: int, budget: int
) -> None:
    whole = Encoding("", tuple(windows_of(10 * count, 10, 10)))
    read: list[Window] = []
    while len(read) < len(whole.windows):
        part = whole.part(len(read), budget)
        assert part.tokens <= budget or len(part.windows) == 1
        read += part.windows
    assert read == list(whole.windows)


@given(st.integers(1, 5_000), st.integers(8, 5_000))
def test_shapes_for_a_gpu_are_few_and_hold_what_they_are_for(count: int, most: int) -> None:
    tokens = min(count, most)
    assert count <= shapes.rows(count) <= max(2, 1.5 * count)
    assert tokens <= shapes.length(tokens, most) <= most
    assert shapes.length(tokens, most) in set(shapes.lengths(most))
    assert len(list(shapes.lengths(most))) <= 16 + 12 + most / 128
