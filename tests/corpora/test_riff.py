import struct
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from convrnn.corpora.riff import data_bytes, missing_bytes


@pytest.fixture
def wav(tmp_path):
    """A WAV file of 4000 bytes of samples after a chunk of odd length, and the position of its data size."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.arange(2000, dtype=np.int16), 8000)
    content = path.read_bytes()
    place = content.index(b"data")
    path.write_bytes(content[:place] + b"note" + struct.pack("<I", 3) + b"abc\0" + content[place:])
    return path, place + 12 + 4


def test_a_complete_file_lacks_nothing(wav):
    assert missing_bytes(wav[0]) == 0
    wav[0].write_bytes(wav[0].read_bytes() + b"LIST\0\0\0\0")
    assert missing_bytes(wav[0]) == 0


def test_a_truncated_copy_lacks_the_bytes_cut_off(wav):
    wav[0].write_bytes(wav[0].read_bytes()[:-1500])
    assert missing_bytes(wav[0]) == 1500
    assert data_bytes(wav[0]) == 4000


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_the_size_in_the_header_of_a_stream_is_ignored(wav, size):
    path, place = wav
    content = path.read_bytes()
    path.write_bytes(content[:place] + struct.pack("<I", size) + content[place + 4 :])
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RIFX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
@pytest.mark.parametrize("channels", [1, 2])
def test_truncated_copies_of_every_uncompressed_format_are_found(tmp_path, kind, channels):
    path = tmp_path / "a"
    form = {"format": "WAV", "endian": "BIG"} if kind == "RIFX" else {"format": kind}
    soundfile.write(path, np.arange(1, 2001, dtype=np.int16).repeat(channels).reshape(-1, channels), 8000, **form)
    assert missing_bytes(path) == 0
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    assert missing_bytes(path) == 1000
    # libsndfile does not report it.
    assert soundfile.info(path).frames == pytest.approx(2000 - 500 / channels, abs=5)
    path.write_bytes(content + b"more")
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("missing", [1, 10, 300])
def test_a_truncated_copy_of_ogg_is_found(tmp_path, missing):
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 8000)
    assert missing_bytes(path) == 0
    path.write_bytes(path.read_bytes()[:-missing])
    # libsndfile returns the complete pages without an error.
    assert 0 < soundfile.info(path).frames < 80_000
    assert missing_bytes(path) == missing


def test_the_length_of_a_large_file_is_read_from_its_own_chunk(tmp_path):
    path = tmp_path / "a.rf64"
    soundfile.write(path, np.arange(2000, dtype=np.int16), 8000, format="RF64")
    content = bytearray(path.read_bytes())
    place = content.index(b"ds64") + 16
    content[place : place + 8] = struct.pack("<Q", 2**40)
    path.write_bytes(content)
    assert data_bytes(path) == 2**40
    assert missing_bytes(path) == 2**40 - 4000


@pytest.mark.parametrize(
    ("kind", "sign", "unknown"),
    [("AU", b".snd", b"\xff\xff\xff\xff"), ("RIFX", b"data", b"\xff\xff\xff\xff")],
)
def test_streams_of_other_formats_lack_nothing(tmp_path, kind, sign, unknown):
    form = {"format": "WAV", "endian": "BIG"} if kind == "RIFX" else {"format": kind}
    soundfile.write(tmp_path / "a", np.arange(2000, dtype=np.int16), 8000, **form)
    content = bytearray((tmp_path / "a").read_bytes())
    place = content.index(sign) + (8 if kind == "AU" else 4)
    content[place : place + len(unknown)] = unknown
    (tmp_path / "a").write_bytes(content)
    assert soundfile.info(tmp_path / "a").frames == 2000
    assert missing_bytes(tmp_path / "a") == 0


def test_a_file_of_empty_chunks_takes_no_time(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF1234WAVE" + b"note\0\0\0\0" * 2_000_000)
    began = time.monotonic()
    assert data_bytes(tmp_path / "a.wav") is None
    assert time.monotonic() - began < 1


@given(
    st.sampled_from(
        [
            b"",
            b"RIFF\0\0\0\0WAVE",
            b"FORM\0\0\0\0AIFF",
            b"RF64\0\0\0\0WAVEds64",
            b".snd",
            b"caff\0\1\0\0",
            b"OggS\0",
            b"NIST_1A\n   1024\nsample_count -i 9\n",
            b"riff.\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",
        ]
    ),
    st.binary(max_size=100),
)
def test_any_header_is_read(tmp_path_factory, begin, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(begin + content)
    assert missing_bytes(path) >= 0
    assert data_bytes(path) is None or data_bytes(path) >= 0


@pytest.mark.parametrize("content", [b"", b"RIFF", b"fLaC" * 9, b"RIFF1234WAVE", b"RIFF1234WAVEfmt \xff\0\0\0"])
def test_other_files_lack_nothing(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert missing_bytes(path) == 0
    assert data_bytes(path) is None
