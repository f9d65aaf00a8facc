"""The synthetic demo corpus: its composition, its reproducibility, and what happens when synthesis fails."""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from convrnn.corpora import demo
from convrnn.corpora.demo import open_demo
from convrnn.corpora.demo_plan import VERSION, draw_speaker, plan, speaker_utterances
from convrnn.errors import InputError

SUBSET = """
import sys
from pathlib import Path
from convrnn.corpora.demo_plan import draw_speaker, speaker_utterances
from convrnn.corpora.demo_synthesis import synthesise

folder, order = Path(sys.argv[1]), sys.argv[2:]
utterances = [u for name in order for u in speaker_utterances(draw_speaker(name[:-2], int(name[-2:]) - 1))]
synthesise(utterances, folder)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache") / "not" / "yet"
    seen = []
    open_demo(cache, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 432) for done in range(1, 433)]
    return cache


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.wav")}


def test_the_corpus_has_the_documented_composition(cache):
    corpus = open_demo(cache)
    assert corpus.synthetic
    assert corpus.name == "demo"
    assert corpus.tasks == {"gender": ("child", "female", "male"), "arousal": ("aroused", "calm")}
    assert len(corpus) == 432
    assert corpus.for_task("gender").sample_rate == 16000
    speakers = corpus.table.groupby("speaker")[["gender", "partition"]].agg(["nunique", "first"])
    assert len(speakers) == 36
    assert (speakers["gender"]["nunique"] == 1).all()
    assert (speakers["partition"]["nunique"] == 1).all()
    composition = speakers.groupby([speakers["partition"]["first"], speakers["gender"]["first"]]).size().to_dict()
    per_gender = {"train": 6, "validation": 2, "test": 4}
    assert composition == {(p, g): n for p, n in per_gender.items() for g in ("child", "female", "male")}
    assert (corpus.table.groupby(["speaker", "arousal"]).size() == 6).all()


def test_every_file_is_short_mono_speech_at_16_khz(cache):
    durations = []
    for path in open_demo(cache).table["file"]:
        samples, rate = soundfile.read(path, dtype="int16")
        assert (rate, samples.ndim, soundfile.info(path).subtype) == (16000, 1, "PCM_16")
        peak = np.abs(samples.astype(np.int32)).max()
        assert 1000 < peak < 32767, path
        # Pauses carry background noise, not digital silence.
        assert (samples.reshape(-1)[: 400 * (samples.size // 400)].reshape(-1, 400).std(axis=1) > 10).all(), path
        durations.append(samples.size / rate)
    assert min(durations) > 0.6
    assert max(durations) < 1.9
    assert 0.9 < np.median(durations) < 1.3


def test_aroused_is_louder_and_faster_on_average_but_not_always(cache):
    table = open_demo(cache).table
    level, seconds = [], []
    for path in table["file"]:
        samples, rate = soundfile.read(path)
        level.append(20 * np.log10(samples.std()))
        seconds.append(samples.size / rate)
    aroused = (table["arousal"] == "aroused").to_numpy()
    for values, sign in ((np.array(level), 1), (np.array(seconds), -1)):
        # The two renderings of a sentence follow each other.
        difference = sign * (values[aroused] - values[~aroused])
        assert difference.mean() > 0
        assert 0.6 < (difference > 0).mean() < 1.0


def test_groups_differ_in_pitch_and_overlap():
    pitch = {g: [draw_speaker(g, i).pitch_hz[0] for i in range(12)] for g in ("child", "female", "male")}
    assert np.median(pitch["child"]) > 1.15 * np.median(pitch["female"]) > 1.4 * np.median(pitch["male"])
    assert min(pitch["child"]) < max(pitch["female"])


def test_a_second_use_only_reads(cache, monkeypatch):
    monkeypatch.setattr(demo, "_make", lambda *_: pytest.fail("synthesised again"))
    assert len(open_demo(cache)) == 432


def test_the_cache_holds_nothing_but_the_corpus(cache):
    assert [path.name for path in cache.iterdir()] == ["demo-1"]
    assert len(list((cache / "demo-1").iterdir())) == 433


def test_two_processes_give_the_same_bytes_in_any_order_and_selection(cache, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    # The library has buffers of 160 bytes for file names.
    workspaces = tmp_path / ("d" * 120) / ("e" * 120)
    workspaces.mkdir(parents=True)
    command = [sys.executable, "-c", SUBSET, str(folder), "male11", "female02", "child03"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(workspaces)})
    assert not list(workspaces.iterdir())
    subset = hashes(folder)
    assert len(subset) == 36
    assert subset.items() <= hashes(cache / "demo-1").items()


def test_a_damaged_corpus_is_made_again(cache, tmp_path, monkeypatch):
    shutil.copytree(cache / "demo-1", tmp_path / "demo-1")
    (tmp_path / "demo-1" / "male01-01-calm.wav").unlink()

    def synthesise(partial, _):
        shutil.copytree(cache / "demo-1", partial, dirs_exist_ok=True)

    monkeypatch.setattr(demo, "_synthesise", synthesise)
    assert len(open_demo(tmp_path)) == 432
    assert hashes(tmp_path / "demo-1") == hashes(cache / "demo-1")
    assert [path.name for path in tmp_path.iterdir()] == ["demo-1"]


def test_a_killed_synthesis_leaves_no_corpus(tmp_path):
    code = "import sys, pathlib; from convrnn.corpora.demo import open_demo; open_demo(pathlib.Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("demo-1.partial-*/*.wav")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "demo-1").exists()
    (partial,) = tmp_path.iterdir()
    os.utime(partial, (0, 0))
    demo._sweep(tmp_path / "demo-1")
    assert not list(tmp_path.iterdir())


def test_recent_files_of_another_process_are_not_deleted(tmp_path):
    (tmp_path / "demo-1.partial-x").mkdir()
    demo._sweep(tmp_path / "demo-1")
    assert (tmp_path / "demo-1.partial-x").is_dir()


def test_a_failing_synthesis_gives_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 1 432\necho 'RuntimeError: no voice' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(demo.sys, "executable", str(broken))
    seen = []
    with pytest.raises(InputError, match="demo corpus could not be synthesised: RuntimeError: no voice"):
        open_demo(tmp_path / "cache", on_progress=lambda *step: seen.append(step))
    assert seen == [(1, 432)]
    assert not list((tmp_path / "cache").iterdir())


def test_a_crash_of_the_library_does_not_end_the_caller(tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(demo.sys, "executable", str(crashing))
    with pytest.raises(InputError, match=r"espeak-ng crashed \(SIGSEGV\)"):
        open_demo(tmp_path / "cache")


def test_an_interrupt_stops_the_synthesis_and_cleans_up(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_demo(tmp_path / "cache", on_progress=interrupt)
    assert not list((tmp_path / "cache").iterdir())


def test_an_error_about_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "espeakng_loader" else find_spec(name)
    )
    with pytest.raises(InputError, match=r"pip install 'convrnn\[demo\]'"):
        open_demo(tmp_path)


def test_a_cache_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="demo corpus cannot be written there"):
        open_demo(tmp_path / "file" / "cache")


def test_a_corpus_that_another_process_finished_meanwhile_is_used(cache, tmp_path):
    partial = tmp_path / "partial"
    partial.mkdir()
    inode = (cache / "demo-1").stat().st_ino
    demo._put_in_place(partial, cache / "demo-1")
    assert (cache / "demo-1").stat().st_ino == inode
    assert partial.is_dir()


def test_the_version_rises_when_the_plan_changes():
    content = "\n".join(
        f"{u.name} {u.text} {u.rate} {u.pitch} {u.pitch_range} {u.gain_db:.6f} {u.seed} {u.speaker.partition} "
        f"{u.speaker.noise_db:.6f} {u.speaker.voice_file()}"
        for u in plan()
    )
    assert (VERSION, hashlib.sha256(content.encode()).hexdigest()[:16]) == (1, "06f7cdcf2362d86f")


def test_utterances_do_not_depend_on_each_other():
    whole = {u.name: u for u in plan()}
    assert len(whole) == 432
    for utterance in speaker_utterances(draw_speaker("female", 7)):
        assert whole[utterance.name] == utterance


def test_every_sentence_has_both_renderings():
    texts = {}
    for utterance in plan():
        texts.setdefault(utterance.name.rsplit("-", 1)[0], set()).add(utterance.text)
    assert all(len(said) == 1 for said in texts.values())
    assert len(texts) == 216


def test_the_folder_can_be_read_as_a_csv_corpus(cache):
    header = Path(cache / "demo-1" / "demo.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "file,speaker,partition,gender,arousal,text"
