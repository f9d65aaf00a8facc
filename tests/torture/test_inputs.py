"""Damaged inputs of every reader end in success or one sentence; ``make torture`` tries forty times as many."""

import base64
import json
import time
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.fuzz import try_inputs
from torture.mutate import damage_bytes, damage_json, damage_table
from torture.readers import READERS
from torture.reading import fault_of, judge

from convrnn.errors import InputError

INPUTS = 500
FOUND = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures" / "hostile" / "found.jsonl").read_text().splitlines()
]
"""Inputs that once ended otherwise: the reader, how it ended, and the input itself."""


@pytest.fixture(scope="module")
def tallies():
    return try_inputs(READERS, INPUTS, seed=1)


@pytest.mark.parametrize("reader", READERS)
def test_every_input_ends_in_success_or_one_sentence(tallies, reader):
    tally = tallies[reader]
    assert not tally.others, "\n".join(f"{found.index}: {found.kind}\n{found.details}" for found in tally.examples)
    assert tally.inputs == INPUTS
    # Harmless damage would prove nothing, nor would damage that the first check always finds.
    assert tally.sentences > 0 or reader == "feature store"


@pytest.mark.parametrize("reader", sorted({found["reader"] for found in FOUND}))
def test_inputs_that_once_failed_end_well(tmp_path, reader):
    target = READERS[reader](tmp_path)
    for found in FOUND:
        if found["reader"] == reader:
            kind, details = judge(target.read, zlib.decompress(base64.b85decode(found["data"])))
            assert kind in ("success", "sentence"), f"{found['kind']}, now {kind}: {details}"


def refuse(sentence):
    def read(_):
        raise InputError(sentence)

    return read


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("a.wav: is empty", ""),
        (" ", "nothing said"),
        ("a.wav: is empty\nand more", "several lines"),
        ("x" * 301, "more than 300 characters"),
        ("see https://example.org", "an address"),
    ],
)
def test_faults_of_a_sentence_are_found(message, fault):
    assert fault_of(message) == fault


def reads_forever(_):
    while True:
        time.sleep(0)


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (len, "success"),
        (refuse("a.wav: is empty"), "sentence"),
        (lambda _: {}["x"], "KeyError"),
        (lambda _: np.ones(2**28), "MemoryError"),
    ],
)
def test_the_ways_in_which_reading_ends_are_distinguished(read, kind):
    assert judge(read, b"")[0] == kind


def test_endless_reading_is_noticed(monkeypatch):
    import signal

    from torture import reading

    monkeypatch.setattr(reading, "SECONDS", 0.2)
    before = signal.signal(signal.SIGPROF, reading._out_of_time)
    try:
        assert judge(reads_forever, b"")[0].startswith("more than")
    finally:
        signal.signal(signal.SIGPROF, before)


def test_damage_is_random_but_reproducible():
    valid = json.dumps({"a": [1, 2.5, "x"], "b": {"c": None}}).encode()
    ways = (
        lambda random: damage_bytes(valid, random),
        lambda random: damage_json(valid, random),
        lambda random: damage_table(b"file,speaker\na.wav,b\n", random),
    )
    for way in ways:
        made = [way(Random(f"{i}")) for i in range(300)]
        assert made == [way(Random(f"{i}")) for i in range(300)]
        assert len(set(made)) > 250


@settings(max_examples=100, deadline=None)
@given(st.binary(), st.integers(0, 2**32))
def test_anything_can_be_damaged(data, number):
    random = Random(number)
    for way in (damage_bytes, damage_json, damage_table):
        for _ in range(5):
            data = way(data, random)
            assert isinstance(data, bytes)


@pytest.mark.parametrize("text", ["9" * 4000, "[" * 900 + "]" * 900, '{"a": NaN}', '"\\ud800"', ""])
def test_json_at_its_limits_can_be_damaged(text):
    made = {damage_json(text.encode(), Random(f"{i}")) for i in range(50)}
    assert len(made) > 10
