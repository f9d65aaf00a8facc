"""Arrays of frames that other programs wrote."""

import io
import pickle
import struct

import numpy as np
import pytest

from convrnn.errors import InputError
from convrnn.features.config import FeatureConfig
from convrnn.features.extract import Segment, extract_features
from convrnn.features.frames import FramesConfig, frames_shape, read_frames
from convrnn.features.store import FeatureStore

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "a.npy"
        path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
        return path

    return write


def header(text, version=(1, 0)):
    content = text.encode("latin-1")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(content))
    return b"\x93NUMPY" + bytes(version) + size + content


def announcing(shape, descr="<f4"):
    return header(repr({"descr": descr, "fortran_order": False, "shape": shape}) + "\n")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_type_and_order_is_read_as_float32(write, dtype, order):
    frames = read_frames(write(np.array(VALUES, dtype=dtype, order=order)))
    assert frames.dtype == np.float32
    assert frames.flags.c_contiguous
    np.testing.assert_array_equal(frames, VALUES.astype(dtype).astype(np.float32))


def test_headers_of_version_2_and_of_python_2_are_read(write):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, VALUES, version=(2, 0))
    np.testing.assert_array_equal(read_frames(write(stream.getvalue())), VALUES)
    old = header("{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 3L)}") + VALUES.tobytes()
    np.testing.assert_array_equal(read_frames(write(old)), VALUES)


def test_the_shape_comes_from_the_header_alone(write):
    assert frames_shape(write(np.full((2, 3), np.nan))) == (2, 3)
    assert frames_shape(write(np.zeros((0, 3)))) == (0, 3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "array of frames is empty (0 bytes)"),
        (b"RIFF....WAVE", "is not a .npy file"),
        (pickle.dumps(VALUES), "is not a .npy file"),
        (b"\x93NUMPY", "is a .npy file of version none"),
        (b"\x93NUMPY\x03\x00", "is a .npy file of version 3.0; versions 1.0 and 2.0 are read"),
        (header("{'descr': '<f4'}"), "its header is damaged"),
        (header("(" * 5000), "its header is damaged"),
        (header("[" * 9000 + "]" * 900), "its header is damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "its header is damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "its header is damaged"),
        (np.array([[1, "a"]], dtype=object), "holds Python objects"),
        (VALUES.astype(np.int16), "is an array of int16; frames are float16, float32 or float64"),
        (VALUES.astype(np.complex64), "is an array of complex64"),
        (np.zeros(3, dtype="f4,f4"), "is an array of ["),
        (VALUES[0], "has the shape (3,); frames have [frames, features]"),
        (VALUES[None], "has the shape (1, 4, 3)"),
        (VALUES[:0], "holds no frames"),
        (VALUES[:, :0], "has 0 features per frame; 1 to 65536 can be used"),
        (announcing((1, 2**16 + 1)), "has 65537 features per frame"),
        (announcing((2**30, 2)), "has 1073741824 frames of 2 features; at most 1073741824 values are read"),
        (announcing((2**62, 2**10)), "at most 1073741824 values are read"),
        (announcing((-4, 3)), "has -4 frames"),
        (announcing((2**20, 2**10)), "is cut off; according to its header it has"),
        (announcing((4, 3)) + VALUES.tobytes()[:-1], "is cut off"),
        (announcing((4, 3)) + VALUES.tobytes() + b"x", "does not end with its array"),
        (np.where(VALUES[2, 1] == VALUES, np.nan, VALUES), "feature 1 of frame 2 is nan"),
        (np.where(VALUES[2, 1] == VALUES, -np.inf, VALUES), "feature 1 of frame 2 is -inf"),
        (np.full((2, 2), 1e300), "feature 0 of frame 0 is 1e+300, which is not a finite float32"),
    ],
)
def test_every_other_file_is_refused_in_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError) as refused:
        read_frames(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert sentence in str(refused.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="array of frames does not exist"):
        read_frames(tmp_path / "none.npy")
    with pytest.raises(InputError, match="is a folder, expected an array of frames"):
        read_frames(tmp_path)


def test_the_config_reads_arrays_of_its_width_and_whole(write):
    path = str(write(VALUES))
    np.testing.assert_array_equal(extract_features(Segment(path), FramesConfig(width=3)), VALUES)
    with pytest.raises(InputError, match="has 3 features per frame, but the model takes 4"):
        extract_features(Segment(path), FramesConfig(width=4))
    with pytest.raises(InputError, match="arrays of frames are used whole; leave out start and end"):
        extract_features(Segment(path, 0.0, 1.0), FramesConfig(width=3))


def test_the_config_is_one_of_the_feature_configs():
    from pydantic import TypeAdapter

    config = TypeAdapter(FeatureConfig).validate_python({"kind": "frames", "width": 768})
    assert config == FramesConfig(width=768)
    assert (config.name, config.num_features, config.is_waveform) == ("frames", 768, False)


def test_the_store_copies_no_arrays(write, tmp_path):
    store = FeatureStore(tmp_path / "store", FramesConfig(width=3))
    segment = Segment(str(write(VALUES)))
    store.extract([segment])
    np.testing.assert_array_equal(store.load(segment), VALUES)
    assert not (tmp_path / "store").exists()
