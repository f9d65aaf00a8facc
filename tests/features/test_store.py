import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from convrnn.errors import InputError
from convrnn.features import store as store_module
from convrnn.features.extract import Segment, extract_features
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from convrnn.files import temporary_path
from convrnn.processes import WorkFailedError

CONFIG = LogMelConfig(sample_rate=8000)


@pytest.fixture
def segments(tmp_path):
    """Segments of six different files."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(6):
        path = tmp_path / "audio" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, 4000 + 400 * number), 8000)
        found.append(Segment(str(path)))
    return found


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store", CONFIG)


def stored(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_the_store_holds_the_features_of_each_segment(store, segments):
    parts = [*segments, Segment(segments[0].file, 0.1, 0.3), Segment(segments[0].file, 0.1)]
    store.extract(parts)
    for segment in parts:
        features = store.load(segment)
        assert features.dtype == np.float32
        np.testing.assert_array_equal(features, extract_features(segment, CONFIG))
    assert len(stored(store)) == 8
    assert all(path.suffix == ".npy" and path.parent.name == path.name[:2] for path in stored(store))


def test_progress_counts_existing_and_new_features(store, segments):
    seen = []
    store.extract(segments[:3], on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    seen.clear()
    store.extract(segments, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_existing_features_are_not_computed_again(store, segments, monkeypatch):
    store.extract(segments)
    monkeypatch.setattr(store_module, "extract_features", lambda *_: pytest.fail("computed again"))
    store.extract(segments)
    FeatureStore(store.root, CONFIG).extract(segments)
    assert store.load(segments[0]).shape == (48, 26)


def test_copies_share_one_file_and_are_computed_once(store, segments, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(segments[0].file).read_bytes())
    seen = []
    store.extract(
        [segments[0], Segment(str(copy)), segments[0]], on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(stored(store)) == 1
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_keys_depend_on_everything_that_matters(store, segments, monkeypatch):
    file = segments[0].file
    keys = {
        store.key(segments[0]),
        store.key(segments[1]),
        store.key(Segment(file, 0.1)),
        store.key(Segment(file, None, 0.1)),
        store.key(Segment(file, 0.1, 0.2)),
        FeatureStore(store.root, LogMelConfig(sample_rate=16000)).key(segments[0]),
        FeatureStore(store.root, LogMelConfig(sample_rate=8000, num_bands=20)).key(segments[0]),
    }
    monkeypatch.setattr(store_module, "FEATURES_VERSION", store_module.FEATURES_VERSION + 1)
    keys.add(FeatureStore(store.root, CONFIG).key(segments[0]))
    assert len(keys) == 8
    assert store.key(Segment(file, 0, 1)) == store.key(Segment(file, 0.0, 1.0))


def test_log_mel_is_found_where_earlier_versions_put_it(store, segments):
    # If this changes, all users have to extract everything again.
    assert store.path(segments[0]).parent.parent == store.root / "c5e8f114ae01a3c8"


def test_audio_is_hashed_once_but_a_change_is_noticed(store, segments):
    file = Path(segments[0].file)
    before = store.key(segments[0])
    opened = []
    original = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *args, **kw: opened.append(self) or original(self, *args, **kw))
        assert FeatureStore(store.root, CONFIG).key(segments[0]) == before
        assert store.key(Segment(str(file))) == before
    assert opened == []
    soundfile.write(file, np.zeros(8000), 8000)
    assert store.key(segments[0]) != before


def test_features_of_different_configs_are_kept_apart(store, segments):
    other = FeatureStore(store.root, LogMelConfig(sample_rate=8000, num_bands=20))
    store.extract(segments[:1])
    other.extract(segments[:1])
    assert store.load(segments[0]).shape[1] == 26
    assert other.load(segments[0]).shape[1] == 20
    assert len(list(store.root.iterdir())) == 2


def test_features_from_worker_processes_are_bitwise_equal(store, segments, tmp_path):
    store.extract(segments)
    seen = []
    parallel = FeatureStore(tmp_path / "parallel", CONFIG)
    bad = Segment(str(tmp_path / "missing.wav"))
    short = Segment(segments[1].file, 0.1, 0.11)
    with pytest.raises(InputError, match=r"1.wav \(0.1 s to 0.11 s\): 80 samples .*; 2 more segments failed too"):
        parallel.extract(
            [*segments[:3], short, bad, *segments[3:], short],
            jobs=2,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(done, 9) for done in range(1, 10)]
    relative = [path.relative_to(store.root) for path in stored(store)]
    assert relative == [path.relative_to(parallel.root) for path in stored(parallel)]
    for path in relative:
        assert (store.root / path).read_bytes() == (parallel.root / path).read_bytes()


DAMAGES = {
    "cut": lambda whole: whole[:-100],
    "grown": lambda whole: whole + b"\0" * 7,
    "header": lambda whole: b"\0" * 128 + whole[128:],
    "empty": lambda _: b"",
    "text": lambda _: b"not an array",
    # The header and the length are right, so only the digest reveals it.
    "one bit": lambda whole: whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:],
    "zeroed": lambda whole: whole[:128] + bytes(len(whole) - 160) + whole[-32:],
    "not a number": lambda whole: whole[:128] + np.float32(np.nan).tobytes() + whole[132:],
    "digest": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "as earlier versions wrote it": lambda whole: whole[:-32],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_computed_again(store, segments, damage):
    store.extract(segments[:1])
    path = store.path(segments[0])
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    np.testing.assert_array_equal(store.load(segments[0]), extract_features(segments[0], CONFIG))
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-4])
    store.extract(segments[:1])
    assert path.read_bytes() == whole


def test_a_file_under_the_name_of_another_is_computed_again(store, segments):
    one, other = Segment(segments[0].file, 0.0, 0.2), Segment(segments[1].file, 0.0, 0.2)
    store.extract([one, other])
    store.path(one).write_bytes(store.path(other).read_bytes())
    np.testing.assert_array_equal(store.load(one), extract_features(one, CONFIG))


def test_a_file_can_be_read_by_numpy(store, segments):
    store.extract(segments[:1])
    np.testing.assert_array_equal(np.load(store.path(segments[0])), store.load(segments[0]))


def test_loaded_features_are_writable(store, segments):
    store.extract(segments[:1])
    features = store.load(segments[0])
    features[:] = 0
    assert store.load(segments[0]).any()
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert features.flags.aligned


def test_temporary_files_of_killed_extractions_are_removed(store, segments):
    store.extract(segments[:1])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine, left = (temporary_path(store.path(segment)) for segment in segments[1:3])
    left = left.with_name(left.name.replace(f"-{os.getpid()}.", f"-{gone.pid}."))
    for path in (mine, left):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    store.extract(segments[:3])
    assert mine.exists()
    assert not left.exists()


def test_load_computes_missing_features(store, segments):
    np.testing.assert_array_equal(store.load(segments[2]), extract_features(segments[2], CONFIG))
    assert stored(store) == [store.path(segments[2])]


def test_one_failure_does_not_stop_the_others(store, segments, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    mixed = [segments[0], Segment(str(tmp_path / "text.wav")), segments[1]]
    with pytest.raises(InputError, match=r"text.wav: cannot be read as audio \([^;]*\)$"):
        store.extract(mixed)
    assert len(stored(store)) == 2
    with pytest.raises(InputError, match=r"text.wav: cannot be read as audio .*; 1 more segment failed too$"):
        store.extract([*mixed, Segment(str(tmp_path / "missing.wav"))])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_extraction_continues(store, segments, error):
    def stop(done, _total):
        if done == 3:
            raise error

    with pytest.raises(error):
        store.extract(segments, on_progress=stop)
    kept = {path: path.stat().st_mtime_ns for path in stored(store)}
    assert len(kept) == 3
    store.extract(segments)
    assert len(stored(store)) == 6
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def test_interrupted_processes_leave_only_complete_files(store, segments):
    def stop(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.extract(segments, jobs=2, on_progress=stop)
    left = [path for path in stored(store) if path.suffix == ".npy"]
    assert 2 <= len(left) <= 6
    assert all(store._is_whole(path) for path in left)


def test_a_killed_process_gives_a_sentence(store, segments):
    def kill(_done, _total):
        for process in worker_processes(os.getpid()):
            os.kill(process, signal.SIGKILL)

    with pytest.raises(
        InputError, match=r"^.*\.wav: its worker process was killed, .* run the same command again with fewer jobs$"
    ):
        store.extract(segments, jobs=2, on_progress=kill)
    store.extract(segments)
    assert len([path for path in stored(store) if path.suffix == ".npy"]) == 6


def test_a_bug_in_a_process_keeps_its_traceback(store, segments):
    with pytest.raises(WorkFailedError, match="TypeError") as caught:
        store.extract([segments[0], Segment(segments[1].file, start="0")], jobs=2)
    assert "extract_features" in caught.value.details


def test_an_interruption_while_writing_leaves_nothing(store, segments, monkeypatch):
    def interrupted(path, _target):
        assert path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.extract(segments)
    assert stored(store) == []


def test_a_full_disk_stops_with_one_sentence(store, segments, monkeypatch):
    replace = Path.replace

    def full(path, target):
        if len(stored(store)) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(
        InputError, match=rf"^{store.root}/.*: cannot be written \(No space left on device\); [^;]* kept$"
    ):
        store.extract(segments)
    assert len(stored(store)) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_root_that_is_not_a_folder_is_named(tmp_path, segments, jobs):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/store/[^;]*: cannot be written \(Not a directory\); [^;]* kept$"):
        FeatureStore(tmp_path / "file" / "store", CONFIG).extract(segments, jobs=jobs)


def test_jobs_below_one_are_refused(store, segments):
    with pytest.raises(InputError, match="jobs: expected at least 1, got 0"):
        store.extract(segments, jobs=0)


def test_missing_audio_is_named_on_load(store, tmp_path):
    with pytest.raises(InputError, match=r"missing.wav: audio file does not exist"):
        store.load(Segment(str(tmp_path / "missing.wav")))


SCRIPT = """
import sys
from pathlib import Path
from convrnn.features.logmel import LogMelConfig
from convrnn.features.extract import Segment
from convrnn.features.store import FeatureStore
from convrnn.files import temporary_path

root, *files = sys.argv[1:]
FeatureStore(root, LogMelConfig(sample_rate=8000)).extract(
    [Segment(file) for file in files], jobs=2, on_progress=lambda done, total: print(done, flush=True)
)
"""


def worker_processes(parent):
    """Ids of a process's children that run a pool's workers (Linux)."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"worker.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes through /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_extraction_continues_and_leaves_no_process(tmp_path, sent):
    rng = np.random.default_rng(0)
    files = []
    for number in range(40):
        files.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(files[-1], rng.uniform(-0.5, 0.5, 8000 * 20), 8000)
    (tmp_path / "script.py").write_text(SCRIPT)
    store = FeatureStore(tmp_path / "store", CONFIG)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(store.root), *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    workers = worker_processes(process.pid)
    assert len(workers) == 2
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)
    else:
        process.kill()
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    # At most one traceback: the parent's own, which the command line turns into a sentence.
    assert errors.count("Traceback") == (1 if sent == signal.SIGINT else 0)
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))

    kept = {path: path.stat().st_mtime_ns for path in stored(store) if path.suffix == ".npy"}
    assert 1 <= len(kept) < 40
    assert all(store._is_whole(path) for path in kept)
    store.extract([Segment(file) for file in files])
    assert len([path for path in stored(store) if path.suffix == ".npy"]) == 40
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def test_the_rate_of_headerless_audio_is_part_of_the_key(tmp_path, store):
    path = tmp_path / "a.raw"
    path.write_bytes(np.random.default_rng(0).integers(-9000, 9000, 4000, dtype=np.int16).astype("<i2").tobytes())
    slow, fast = (Segment(str(path), headerless_rate=rate) for rate in (8000, 16000))
    store.extract([slow, fast])
    assert len({store.key(slow), store.key(fast), store.key(Segment(str(path)))}) == 3
    assert len(store.load(slow)) == 48
    assert len(store.load(fast)) == 23
    with pytest.raises(InputError, match="headerless audio has no sample rate of its own"):
        store.load(Segment(str(path)))


def test_a_folder_is_looked_through_once_and_not_at_every_write(tmp_path, monkeypatch):
    looked, look = [], os.scandir
    monkeypatch.setattr("convrnn.files.os.scandir", lambda folder: looked.append(folder) or look(folder))
    left = temporary_path(tmp_path / "aa" / "aa0.npy")
    left = left.with_name(left.name.replace(f"-{os.getpid()}.", f"-{2**22 + 1}."))
    left.parent.mkdir()
    left.touch()
    for number in range(5):
        store_module._write(tmp_path / "aa" / f"aa{number}.npy", np.zeros((3, 2), np.float32))
    assert looked == [tmp_path / "aa"]
    assert sorted(path.name for path in left.parent.iterdir()) == [f"aa{number}.npy" for number in range(5)]
