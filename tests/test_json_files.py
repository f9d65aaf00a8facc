import contextlib
import json
import os
import time
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, model_validator

from convrnn.errors import InputError
from convrnn.json_files import parse_json, read_json, validate

CONTENT = {"a": [1, -2.5, True, None, "é 😀"], "b": {"c": []}}


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    sentence = str(caught.value)
    assert len(sentence) <= 300
    assert len(sentence.splitlines()) == 1
    return sentence


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "ascii"])
def test_written_content_is_read(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, ensure_ascii=encoding == "ascii"), encoding=encoding)
    assert read_json(path) == CONTENT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{", "is not valid JSON (Expecting property name"),
        (b"\xff\xfe{}", "is not UTF-8 (byte 0 is 0xff)"),
        (b"[" * 100_000, "its brackets nest too deeply"),
        (b'{"a":' * 100_000, "its brackets nest too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "its brackets nest too deeply"),
        (b"9" * 5000, "has more than 64 bits"),
        (b"9223372036854775808", "the number 9223372036854775808 has more than 64 bits"),
        (b"-" + b"1" * 20_000_00, "has more than 64 bits"),
        (b"1e999", "the number 1e999 is too large"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', "key 'a' occurs twice"),
        (b'["\\ud83d"]', "half of a surrogate pair is not a character"),
        (b'{"\\udc00": 1}', "half of a surrogate pair is not a character"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_invalid_json_gives_a_sentence(tmp_path, content, told):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    began = time.monotonic()
    sentence = refusal(read_json, path)
    assert time.monotonic() - began < 2
    assert sentence.startswith(f"{path}: ")
    assert told in sentence


def test_numbers_within_the_limits_are_read():
    numbers = [2**63 - 1, -(2**63), 1.5e308, 5e-324, 0, -0.0]
    assert parse_json(json.dumps(numbers), "here") == numbers
    assert parse_json("0." + "3" * 5000, "here") == 1 / 3


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "file").write_text("{}")
    os.mkfifo(tmp_path / "fifo")
    assert refusal(read_json, tmp_path / "none").endswith("none: file does not exist")
    assert refusal(read_json, tmp_path / "file" / "a.json").endswith("a.json: file does not exist")
    assert refusal(read_json, tmp_path).endswith(": cannot be read (Is a directory)")
    assert refusal(read_json, tmp_path / "fifo").endswith("fifo: is a pipe or a device; give a file")
    assert refusal(read_json, "a\0b").startswith("'a\\x00b': is not a file name")
    assert refusal(read_json, tmp_path / ("x" * 300)).endswith("x: cannot be read (File name too long)")
    assert refusal(read_json, tmp_path / "file", most_bytes=1).endswith("more than 1 bytes, the most that is allowed")
    assert read_json(tmp_path / "file", most_bytes=2) == {}


def test_a_sparse_file_of_a_terabyte_is_not_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    assert "more than 16777216 bytes" in refusal(read_json, tmp_path / "a.json")


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int
    kind: Literal["a", "b"] = "a"

    @model_validator(mode="after")
    def _check(self):
        if self.x == 13:
            raise ValueError(f"13 brings bad luck {'!' * 1000}")
        return self


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "p.json: the point is not valid at x: Field required"),
        ([], "p.json: the point is not valid: Input should be a valid dictionary or instance of Point"),
        ({"x": 1, "kind": "c"}, "p.json: the point is not valid at kind: Input should be 'a' or 'b'"),
        ({"x": 13}, "p.json: the point is not valid: 13 brings bad luck !"),
        ({"x": 1, "y" * 10_000: 2}, "p.json: the point is not valid at yyy"),
    ],
)
def test_the_first_wrong_field_is_named(content, told):
    assert refusal(validate, Point, content, "p.json", "the point").startswith(told)


def test_content_becomes_a_model():
    assert validate(Point, {"x": 3, "kind": "b"}, "p.json", "the point") == Point(x=3, kind="b")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(json_values)
def test_every_json_value_is_read(value):
    assert parse_json(json.dumps(value), "here") == value


@settings(max_examples=150)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()).flatmap(
    lambda data: st.tuples(st.just(data), st.integers(0, len(data) - 1), st.binary(max_size=3)).map(
        lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + 1 :]
    )
))  # fmt: skip
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        read_json(path)
        return
    assert refusal(read_json, path).startswith(f"{path}: ")
