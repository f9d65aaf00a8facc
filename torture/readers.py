"""Everything that convrnn reads: for each kind, valid inputs, a way to damage them and a function that reads them."""

import io
import json
import os
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from torture import audio_readers, material
from torture.mutate import damage_bytes, damage_json, damage_table
from torture.target import BelievedError, Target


def frames(folder: Path) -> Target:
    """Arrays of frames."""
    from convrnn.corpora.recording import look_at
    from convrnn.features.frames import read_frames

    path = folder / "frames.npy"
    values = np.random.default_rng(0).normal(size=(6, 3))
    seeds = [_npy(values.astype(kind)) for kind in ("<f4", ">f8", "<f2", "<i4")]
    seeds += [_npy(np.asfortranarray(values)), _npy(values, (2, 0)), _npy(values.astype(object))]
    # As Python 2 wrote it.
    seeds.append(seeds[0].replace(b"(6, 3), }  ", b"(6L, 3L), }"))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        look_at(str(path))
        read_frames(path)

    return Target(seeds, lambda data, random: damage_bytes(data, random, seeds), read)


def _npy(values: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=version, allow_pickle=True)
    return stream.getvalue()


def csv_table(folder: Path) -> Target:
    """The CSV of a corpus, which is also checked, and the CSV that ``predict`` reads."""
    from convrnn.corpora.check import check_corpus
    from convrnn.corpora.csv_table import open_csv
    from convrnn.training.recordings import read_list

    text = material.write_corpus(folder / "corpus", seconds=0.05, each=1).read_text(encoding="utf-8")
    lines = text.splitlines()
    timed = "\n".join([f"{lines[0]},start,end", *(f"{line},0,0.04" for line in lines[1:])])
    path = folder / "corpus" / "damaged.csv"
    seeds = [text, timed, text.replace(",", ";"), text.replace(",", "\t"), text.replace("partition", "person")]

    def damage(data: bytes, random: Random) -> bytes:
        return damage_table(data, random, max(",;\t", key=lambda separator: data.count(separator.encode())))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        refused = _refused(read_list, path)
        corpus = open_csv(path)
        check_corpus(corpus, next(iter(corpus.tasks)))
        if refused is not None:
            raise refused

    return Target([seed.encode() for seed in seeds], damage, read)


def _refused(read: Callable[[Path], object], path: Path) -> Exception | None:
    from convrnn.errors import InputError

    try:
        read(path)
    except InputError as error:
        return error
    return None


def audformat(folder: Path) -> Target:
    """A database in audformat: its header and its tables."""
    from convrnn.corpora.registry import open_corpus

    head = """name: small
source: torture
usage: unrestricted
schemes:
  speaker: {dtype: str, labels: {a: {gender: female, age: 31}, b: {gender: male}}}
  emotion: {dtype: str, labels: [joy, anger]}
  rating: {dtype: int}
splits:
  train: {type: train}
tables:
  files: {type: filewise, split_id: train, columns: {speaker: {scheme_id: speaker}, emotion: {scheme_id: emotion}}}
  parts: {type: segmented, columns: {rating: {scheme_id: rating}}}
"""
    files = "file,speaker,emotion\n1.wav,a,joy\n2.wav,b,anger\n3.wav,a,\n"
    parts = "file,start,end,rating\n1.wav,0 days 00:00:00,0 days 00:00:01.5,1\n2.wav,0 days 00:00:01,,2\n"
    whole = {"db.yaml": head, "db.files.csv": files, "db.parts.csv": parts}

    def damage(data: bytes, random: Random) -> bytes:
        name, _, content = data.partition(b"\n")
        if name == b"db.yaml":
            return name + b"\n" + damage_bytes(content, random, [head.encode()])
        return name + b"\n" + damage_table(content, random)

    def read(data: bytes) -> None:
        first, _, content = data.partition(b"\n")
        for name, text in whole.items():
            (folder / name).write_bytes(content if name == first.decode() else text.encode())
        with warnings.catch_warnings():
            # audformat calls functions that pandas has deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            open_corpus(f"audformat:{folder}")

    return Target([f"{name}\n{text}".encode() for name, text in whole.items()], damage, read)


def listing(folder: Path) -> Target:
    """The lists of FAU-Aibo and aGender, and file names of EmoDB."""
    from convrnn.corpora.registry import open_corpus

    chunks = [f"{speaker}_{turn:03}_00" for speaker in ("Ohm_01", "Ohm_06", "Mont_01") for turn in range(5)]
    aibo = "".join(f"{chunk} {label} 0.6\n" for chunk, label in zip(chunks, "AENPR" * 3, strict=True))
    speakers = [f"{group}00{number}" for group in "1234567" for number in (1, 2)]
    agender = "".join(f"a/{speaker}.raw 1600 {speaker} 20 f\n" for speaker in speakers)
    lists = {
        "aibo": (folder / "aibo" / "chunk_labels_5cl_corpus.txt", aibo),
        "agender": (folder / "agender" / "trainSampleList_train.txt", agender),
    }
    for names in ([f"aibo/wav/{chunk}.wav" for chunk in chunks], [f"agender/a/{speaker}.raw" for speaker in speakers]):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bytes(1600))
    emodb = folder / "emodb"
    files = [b"03a01Fa.wav", b"16b10Wb.wav", b"10a07Nc.WAV"]

    seeds = [*(f"{kind}\n{text}".encode() for kind, (_, text) in lists.items()), b"emodb\n" + files[0]]

    def damage(data: bytes, random: Random) -> bytes:
        kind, _, content = data.partition(b"\n")
        found = damage_bytes(content, random, files) if kind == b"emodb" else damage_table(content, random, None)
        return kind + b"\n" + found

    def read(data: bytes) -> None:
        kind, _, content = data.partition(b"\n")
        if kind == b"emodb":
            shutil.rmtree(emodb, ignore_errors=True)
            emodb.mkdir()
            for name in (files[0], content.replace(b"/", b"_").replace(b"\0", b"_")[:250] or b"_"):
                Path(os.fsdecode(os.fsencode(emodb) + b"/" + name)).touch()
        else:
            lists[kind.decode()][0].write_bytes(content)
        corpus = open_corpus(f"{kind.decode()}:{folder / kind.decode()}")
        for task in corpus.tasks:
            corpus.classes(task)

    return Target(seeds, damage, read)


def config(folder: Path) -> Target:
    """A model's config.json."""
    from convrnn.models.bundle import Bundle

    bundle = material.write_bundle(folder)
    return _json_file(bundle / "config.json", lambda: Bundle.load(bundle))


def weights(folder: Path) -> Target:
    """A model's model.safetensors."""
    from convrnn.models.bundle import Bundle

    bundle = material.write_bundle(folder)
    path = bundle / "model.safetensors"
    whole = path.read_bytes()

    def damage(data: bytes, random: Random) -> bytes:
        if random.random() < 0.4 or len(data) < 8:
            return damage_bytes(data, random, [whole])
        (size,) = struct.unpack("<Q", data[:8])
        found = damage_json(data[8 : 8 + size], random)
        return struct.pack("<Q", len(found)) + found + data[8 + size :]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        Bundle.load(bundle)

    return Target([whole], damage, read)


def checkpoint(folder: Path) -> Target:
    """A run's last.ckpt."""
    from convrnn.training.checkpoint import resume
    from convrnn.training.learner import Learner
    from convrnn.training.spec import RunSpec

    _, half = material.write_run(folder)
    spec = RunSpec.model_validate_json((half / "spec.json").read_text())
    learner = Learner(spec.model, spec.training, seed=spec.seed)
    path = half / "last.ckpt"
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def damage(data: bytes, random: Random) -> bytes:
        if random.random() < 0.4:
            return damage_bytes(data, random, [whole])
        # The parts are those of the valid file, as input that is already damaged may have lost some.
        name = random.choice([name for name in parts if name.endswith(".pkl") or random.random() < 0.1])
        return _zipped(parts | {name: damage_bytes(parts[name], random, [parts[name]])})

    def read(data: bytes) -> None:
        path.write_bytes(data)
        resume(path, learner)

    return Target([whole], damage, read)


def _zipped(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def result(folder: Path) -> Target:
    """Files of a finished run: result.json, predictions.csv and metrics.jsonl."""
    from convrnn.experiments.grid import FinishedRun
    from convrnn.training.epochs import read_metrics

    finished, _ = material.write_run(folder)
    whole = {name: (finished / name).read_text(encoding="utf-8") for name in ("result.json", "predictions.csv")}
    whole["metrics.jsonl"] = (finished / "metrics.jsonl").read_text(encoding="utf-8")

    def damage(data: bytes, random: Random) -> bytes:
        name, _, content = data.partition(b"\n")
        if name == b"predictions.csv":
            found = damage_table(content, random)
        elif name == b"result.json":
            found = damage_json(content, random)
        else:
            line, _, rest = content.partition(b"\n")
            found = damage_json(line, random) + b"\n" + rest
        return name + b"\n" + found

    def read(data: bytes) -> None:
        first, _, content = data.partition(b"\n")
        for name, text in whole.items():
            (finished / name).write_bytes(content if name == first.decode() else text.encode())
        FinishedRun.read(finished, found=True)
        read_metrics(finished)
        if _meaning(first, content) != _meaning(first, whole[first.decode()].encode()):
            raise BelievedError(f"{first.decode()} was changed, which went unnoticed")

    return Target([f"{name}\n{text}".encode() for name, text in whole.items()], damage, read)


def _meaning(name: bytes, content: bytes) -> object:
    return json.loads(content) if name == b"result.json" else content


def split(folder: Path) -> Target:
    """A file of splits."""
    from convrnn.corpora.splits import Split, load_splits, save_splits

    path = folder / "split.json"
    splits = [Split(f"fold-{i}", train=("a", "b"), validation=(f"v{i}",), test=(f"t{i}", "é")) for i in range(3)]
    save_splits(splits, path)
    return _json_file(path, lambda: load_splits(path))


def spec(folder: Path) -> Target:
    """A run's spec.json, which is read together with its model."""
    import convrnn

    def load_spec(run: Path) -> object:
        return convrnn.load(run).spec

    finished, _ = material.write_run(folder)
    # With a result.json, its digest refuses nearly everything; without it, as in a copied model, the spec is validated.
    alone = folder / "alone"
    shutil.copytree(finished, alone)
    (alone / "result.json").unlink()

    def read() -> None:
        (finished / "spec.json").write_bytes((alone / "spec.json").read_bytes())
        refused = _refused(load_spec, finished)
        load_spec(alone)
        if refused is not None:
            raise refused

    return _json_file(alone / "spec.json", read)


def comparison(folder: Path) -> Target:
    """compare.json, which describes the comparison in a folder and is read before anything is added to it."""
    from convrnn.corpora.gate import Provisos
    from convrnn.corpora.registry import open_corpus
    from convrnn.corpora.splits import make_splits
    from convrnn.experiments.comparison_record import COMPARISON, ComparisonRecord, open_folder
    from convrnn.experiments.grid import plan
    from convrnn.features.logmel import LogMelConfig

    corpus = open_corpus(f"csv:{material.write_corpus(folder / 'corpus', each=1)}").for_task(material.TASK)
    splits = make_splits(corpus, "partitions")
    features = LogMelConfig(sample_rate=material.RATE)
    runs = plan(corpus, splits, models=["conv"], setting="emotion", seeds=[0, 1], features=features)
    asked = ComparisonRecord.of(runs, "partitions", Provisos())
    out = folder / "out"
    open_folder(out, asked, runs, splits)
    return _json_file(out / COMPARISON, lambda: open_folder(out, asked, runs, splits))


def _json_file(path: Path, read: Callable[[], object]) -> Target:
    """A JSON file that is damaged in place."""
    whole = path.read_bytes()

    def read_file(data: bytes) -> None:
        path.write_bytes(data)
        read()

    return Target([whole], damage_json, read_file)


def store(folder: Path) -> Target:
    """An entry of the feature store: whatever the damage, the features stay the same."""
    from convrnn.features.extract import Segment
    from convrnn.features.logmel import LogMelConfig
    from convrnn.features.store import FeatureStore

    sound = folder / "sound.wav"
    sound.write_bytes(material.sound("WAV", "PCM_16"))
    segment = Segment(str(sound))
    features = FeatureStore(folder / "features", LogMelConfig(sample_rate=material.RATE))
    features.extract([segment])
    expected = features.load(segment).tobytes()
    path = features.path(segment)
    whole = path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        if features.load(segment).tobytes() != expected:
            raise BelievedError("the entry was changed, which went unnoticed")

    return Target([whole], lambda data, random: damage_bytes(data, random, [whole]), read)


def live(folder: Path) -> Target:
    """What ``convrnn live`` reads from stdin, with random options."""
    from typer.testing import CliRunner

    from convrnn.cli.app import app
    from convrnn.errors import InputError

    bundle = material.write_bundle(folder)
    samples = (32767 * material.tone(400, 0.2, 1)).astype("<i2").tobytes()
    sounds = [samples, samples[:402], material.sound("WAV", "PCM_16"), material.sound("FLAC", "PCM_16"), b"\0" * 1000]
    usual = json.dumps(["--seconds", "0.1", "--every", "0.1"]).encode()
    numbers = ("0.1", "0.2", "1", "0.05", "1e9", "1e308", "inf", "nan", "-1", "0", "1e-320", "x", "2" * 400)
    rates = ("8000", "16000", "8001", "1", "44100", "-8000", str(2**31), str(2**63), "1e4", "768000", "768001")

    def damage(data: bytes, random: Random) -> bytes:
        words = ["--seconds", random.choice(["0.1", "0.1", *numbers]), "--every", random.choice(["0.1", *numbers])]
        words += random.choice([[], [], [], ["--sample-rate", random.choice(rates)], ["--json"]])
        return json.dumps(words).encode() + b"\n" + damage_bytes(data.partition(b"\n")[2], random, sounds)

    def read(data: bytes) -> None:
        words, _, stdin = data.partition(b"\n")
        said = CliRunner().invoke(app, ["live", str(bundle), *json.loads(words)], input=stdin)
        if said.exception is not None and not isinstance(said.exception, SystemExit):
            raise said.exception
        if said.exit_code == 2:
            lines = [line for line in said.stderr.splitlines() if not line.startswith("warning: ")]
            # The option parser prints the usage first, and its sentence in a box.
            if not (lines and lines[0].startswith("Usage:")):
                raise InputError("\n".join(lines))
            raise InputError("the options are wrong")
        if said.exit_code != 0:
            raise AssertionError(f"exit code {said.exit_code}")

    return Target([usual + b"\n" + sound for sound in sounds], damage, read)


READERS: dict[str, Callable[[Path], Target]] = {
    "wav": audio_readers.wav,
    "flac": audio_readers.flac,
    "ogg and mp3": audio_readers.ogg_mp3,
    "other audio": audio_readers.other_audio,
    "headerless audio": audio_readers.headerless,
    "frames": frames,
    "csv": csv_table,
    "audformat": audformat,
    "listings": listing,
    "config": config,
    "weights": weights,
    "checkpoint": checkpoint,
    "result": result,
    "split": split,
    "spec": spec,
    "comparison": comparison,
    "feature store": store,
    "stdin of live": live,
}
"""Functions that prepare a reader in an empty folder, by its name."""
