import struct

import numpy as np
import pytest
import soundfile

from convrnn.corpora.riff import data_bytes, missing_bytes


@pytest.fixture
def wav(tmp_path):
    """A WAV file of 4000 bytes of samples with an odd chunk before them, and where its data size stands."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.arange(2000, dtype=np.int16), 8000)
    content = path.read_bytes()
    place = content.index(b"data")
    path.write_bytes(content[:place] + b"note" + struct.pack("<I", 3) + b"abc\0" + content[place:])
    return path, place + 12 + 4


def test_whole_file_lacks_nothing(wav):
    assert missing_bytes(wav[0]) == 0
    wav[0].write_bytes(wav[0].read_bytes() + b"LIST\0\0\0\0")
    assert missing_bytes(wav[0]) == 0


def test_broken_copy_lacks_what_was_cut(wav):
    wav[0].write_bytes(wav[0].read_bytes()[:-1500])
    assert missing_bytes(wav[0]) == 1500
    assert data_bytes(wav[0]) == 4000


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_size_of_a_stream_says_nothing(wav, size):
    path, place = wav
    content = path.read_bytes()
    path.write_bytes(content[:place] + struct.pack("<I", size) + content[place + 4 :])
    assert missing_bytes(path) == 0


@pytest.mark.parametrize("content", [b"", b"RIFF", b"fLaC" * 9, b"RIFF1234WAVE", b"RIFF1234WAVEfmt \xff\0\0\0"])
def test_other_files_lack_nothing(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert missing_bytes(path) == 0
    assert data_bytes(path) is None
