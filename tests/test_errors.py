import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convrnn.errors import InputError, one_sentence


@given(st.text(), st.integers(3, 400))
@example("a" * 1000, 300)
@example("word " * 1000, 300)
@example("x" * 150 + " " + "y" * 1000 + ": is empty", 300)
def test_every_text_becomes_one_line_of_limited_length(text, most):
    sentence = one_sentence(text, most)
    assert len(sentence) <= most
    assert len(sentence.splitlines()) <= 1
    assert one_sentence(sentence, most) == sentence


def test_short_texts_are_not_changed():
    assert one_sentence("data.csv, row 3: label is missing; 'é' was found") == (
        "data.csv, row 3: label is missing; 'é' was found"
    )


def test_a_long_path_keeps_its_end_and_the_message():
    sentence = str(InputError(f"{'/folder' * 600}/a.wav: audio file does not exist"))
    assert len(sentence) <= 300
    assert sentence.startswith("/folder/folder")
    assert sentence.endswith("/folder/folder/a.wav: audio file does not exist")


def test_a_long_path_with_spaces_keeps_its_end():
    sentence = str(InputError(f"{'/my folder' * 400}/a.wav: audio file does not exist"))
    assert len(sentence) <= 300
    assert sentence.endswith("/my folder/a.wav: audio file does not exist")


@pytest.mark.parametrize(
    "text",
    [
        "bad\n  really\tbad",
        "bad For further information visit https://errors.pydantic.dev/2.13/v/x really bad",
        "bad http://x.org really bad",
    ],
)
def test_foreign_texts_lose_lines_and_addresses(text):
    assert one_sentence(text) == "bad really bad"


def test_terminal_escape_sequences_are_removed():
    assert one_sentence("\x1b[31mred\x00\x9b") == "�[31mred��"


def test_an_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(InputError("x" * 1000)))  # noqa: S301
    assert str(error) == str(InputError("x" * 1000))
