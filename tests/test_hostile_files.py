"""Files whose headers promise what they do not contain give a sentence in little time and memory."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bundles import make_bundle

MEMORY = 256 * 2**20
"""Bytes that reading a file may allocate, without those of the libraries."""

SECONDS = 3
"""Processor time in seconds that reading a file may take."""

CHILD = """
import json, re, resource, sys, time
from pathlib import Path
import numpy as np
from convrnn.corpora.splits import load_splits
from convrnn.errors import InputError
from convrnn.features.audio import audio_blocks, audio_info, read_audio
from convrnn.features.logmel import LogMelConfig
from convrnn.features.extract import Segment, extract_features
from convrnn.json_files import read_json
from convrnn.models import Bundle
from convrnn.training.result import RunResult

def blocks(path):
    return sum(map(len, audio_blocks(path)))

readers = {
    "info": audio_info, "audio": read_audio, "blocks": blocks, "json": read_json, "splits": load_splits,
    "bundle": Bundle.load, "features": lambda path: extract_features(Segment(path), LogMelConfig(sample_rate=8000)),
    "resampled": lambda path: read_audio(path, sample_rate=768_000),
    "result": lambda path: RunResult.load(Path(path)),
}
# What the libraries allocate once does not count.
readers["features"](sys.argv[2])
status = Path("/proc/self/status").read_text()
taken = 1024 * int(re.search(r"VmData:\\s+(\\d+) kB", status)[1])
resource.setrlimit(resource.RLIMIT_DATA, (taken + int(sys.argv[3]),) * 2)
found = []
for reader, path in json.loads(sys.argv[1]):
    began = time.process_time()
    try:
        readers[reader](path)
        told = ["nothing", ""]
    except InputError as error:
        told = ["sentence", str(error)]
    except BaseException as error:
        told = [type(error).__name__, str(error)]
    found.append([*told, time.process_time() - began])
print(json.dumps(found))
"""


def patched(path, content, *changes):
    content = bytearray(content)
    for place, value in changes:
        content[place : place + len(value)] = value
    path.write_bytes(content)
    return path


def audio_files(folder):
    samples = np.sin(np.arange(16000) / 5) / 2
    soundfile.write(folder / "a.flac", samples, 16000)
    flac = (folder / "a.flac").read_bytes()
    streaminfo = int.from_bytes(flac[18:26], "big") >> 36 << 36
    yield "audio", patched(folder / "long.flac", flac, (18, (streaminfo | 2**36 - 1).to_bytes(8, "big"))), "announces"
    yield "audio", patched(folder / "stream.flac", flac, (18, streaminfo.to_bytes(8, "big"))), "does not say how long"
    yield "blocks", patched(folder / "some.flac", flac, (18, (streaminfo | 2**24).to_bytes(8, "big"))), "breaks off"
    soundfile.write(folder / "a.wav", samples, 16000, subtype="PCM_16")
    wav = (folder / "a.wav").read_bytes()
    for rate in (1, 999, 768_001, 2**31 - 1):
        yield "features", patched(folder / f"{rate}.wav", wav, (24, struct.pack("<I", rate))), f"{rate} Hz"
    yield "features", patched(folder / "channels.wav", wav, (22, struct.pack("<H", 1000))), "less than one frame"
    loud = np.zeros(16000, np.float32)
    loud[8000] = -1e30
    soundfile.write(folder / "loud.wav", loud, 16000, subtype="FLOAT")
    yield "features", folder / "loud.wav", "sample 8000 (0.500 s) is 1e+30"
    sparse = patched(folder / "sparse.wav", wav, (4, b"\xff" * 4), (40, b"\xff" * 4))
    os.truncate(sparse, 2**40)
    yield "audio", sparse, "more than the 24 h"
    yield "blocks", sparse, "more than the 24 h"
    slow = folder / "slow.wav"
    soundfile.write(slow, np.zeros(8), 1000, subtype="PCM_U8")
    content = slow.read_bytes()
    place = content.index(b"data")
    patched(slow, content, (4, struct.pack("<I", 2**27)), (place + 4, struct.pack("<I", 80_000_000)))
    os.truncate(slow, place + 8 + 80_000_000)
    yield "resampled", slow, "more than the 1073741824 samples"


def json_files(folder):
    for name, content, told in [
        ("brackets", "[" * 100_000, "nest too deeply"),
        ("pairs", "[" * 100_000 + "]" * 100_000, "nest too deeply"),
        ("objects", '{"a":' * 100_000, "nest too deeply"),
        ("digits", "9" * 5000, "more than 64 bits"),
        ("float", "1" + "0" * 5000 + ".0", "too large"),
        ("keys", "{" + ",".join(f'"{i % 199_999}":0' for i in range(200_000)) + "}", "occurs twice"),
        ("lists", "[" + "[]," * 6_000_000, "more than 16777216 bytes"),
    ]:
        (folder / f"{name}.json").write_text(content)
        yield "json", folder / f"{name}.json", told
        yield "splits", folder / f"{name}.json", told
    (folder / "run").mkdir()
    (folder / "run" / "result.json").write_text("[" * 100_000)
    yield "result", folder / "run", "damaged"


def bundles(folder):
    make_bundle().save(folder / "bundle")
    config = json.loads((folder / "bundle" / "config.json").read_text())
    weights = (folder / "bundle" / "model.safetensors").read_bytes()

    def changed(*path, value):
        content = json.loads(json.dumps(config))
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return json.dumps(content)

    layer = ("model", "front_end", 0, "features")
    many = [config["model"]["front_end"][0]] * 10**4
    configs = [
        (changed(*layer, "num_layers", value=10**5), "num_layers: Input should be less than or equal to 32"),
        (changed(*layer, "num_layers", value=32), "is missing"),
        (changed("model", "front_end", value=many), "front_end: Tuple should have at most 32 items"),
        (changed("model", "front_end", value=many[:32]), "one output of the front end depends on"),
        (changed("features", "num_bands", value=10**9), "num_bands: Input should be less than or equal to 1024"),
        (changed("features", "sample_rate", value=2**63 - 1), "sample_rate: Input should be less than or equal to"),
        (changed("features", "frame_ms", value=1e12), "frame_ms: Input should be less than or equal to 1000"),
        (
            changed("model", "recurrent", "hidden_size", value=2**20),
            "the model has 8796158034463 parameters, more than",
        ),
        (changed("model", "dense_features", value=2**63 - 1), "dense_features: Input should be less than or equal"),
        (changed("model", "dense_features", value=2**63), "more than 64 bits"),
        (changed("classes", value=["a" * 10**6, "b", "c"]), "classes.0: String should have at most 4096 characters"),
        (changed("classes", value=list(map(str, range(10**6)))), "classes: Tuple should have at most 65536 items"),
        (changed("format_version", value="1" * 10**6), "the model has format version '111"),
    ]
    for number, (content, told) in enumerate(configs):
        yield "bundle", bundle(folder / f"config{number}", content, weights), told
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    for number, (content, told) in enumerate(
        [
            (b"\xff" * 8 + weights[8:], "their header announces 18446744073709551615 bytes for itself"),
            (struct.pack("<Q", 2**24) + weights[8:], "weights are damaged"),
            (weights[:4], "weights are damaged"),
            (b"", "weights are damaged"),
            (
                weights_of(header | {"output.bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
                "weights are damaged",
            ),
            (weights_of(header | {"extra": header["output.bias"]}), "weights are damaged"),
            (struct.pack("<Q", 100_000) + b"[" * 100_000, "weights are damaged"),
        ]
    ):
        yield "bundle", bundle(folder / f"weights{number}", json.dumps(config), content), told


def weights_of(header):
    content = json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + bytes(4096)


def bundle(path, config, weights):
    path.mkdir()
    (path / "config.json").write_text(config)
    (path / "model.safetensors").write_bytes(weights)
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by Linux")
def test_hostile_files_give_a_sentence(tmp_path):
    cases = [*audio_files(tmp_path), *json_files(tmp_path), *bundles(tmp_path)]
    soundfile.write(tmp_path / "good.wav", np.sin(np.arange(16000) / 5) / 2, 16000)
    asked = json.dumps([(reader, str(path)) for reader, path, _ in cases])
    command = [sys.executable, "-c", CHILD, asked, str(tmp_path / "good.wav"), str(MEMORY)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    wrong = []
    for (reader, path, told), (kind, sentence, seconds) in zip(cases, json.loads(child.stdout), strict=True):
        one_sentence = len(sentence) <= 300 and len(sentence.splitlines()) == 1 and "http" not in sentence
        if kind != "sentence" or told not in sentence or not one_sentence or seconds > SECONDS:
            wrong.append(f"{reader} of {path.name} in {seconds:.1f} s: {kind}: {sentence}")
    assert not wrong
