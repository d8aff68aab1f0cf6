"""Text from feeds deceives nobody's eyes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.text import hex_dump, shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain words", "plain words"),
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("Grüße, 東京 ▲", "Grüße, 東京 ▲"),
        ("evil\u202etxt.exe", "evil⟨U+202E⟩txt.exe"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\u2066isolate\u2069", "⟨U+2066⟩isolate⟨U+2069⟩"),
        ("\ufeffmark\u00ad", "⟨U+FEFF⟩mark⟨U+00AD⟩"),
        ("bell\x07", "bell⟨U+0007⟩"),
        ("hangul\u3164filler", "hangul⟨U+3164⟩filler"),
    ],
)
def test_what_hides_or_turns_text_is_shown_as_its_code_point(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(st.text())
def test_no_hidden_character_reaches_a_page(text: str) -> None:
    assert not any(
        unicodedata.category(one) in {"Cc", "Cf", "Cs", "Co", "Cn"} for one in shown(text)
    )


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_a_limit_is_kept_before_characters_are_spelt_out(text: str, limit: int) -> None:
    assert len(shown(text, limit)) <= limit * len("⟨U+10FFFF⟩")


def test_a_hex_dump_shows_offset_bytes_and_ascii_and_says_what_it_leaves_out() -> None:
    dump = hex_dump(b"\x00Headrace\xff0123456789", limit=16)
    first, rest = dump.splitlines()
    assert first.startswith("00000000  00 48 65 61 64")
    assert first.endswith(".Headrace.012345")
    assert rest == "… 4 bytes more"
