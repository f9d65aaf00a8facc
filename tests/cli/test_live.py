"""``convrnn live`` on samples from stdin, and its errors."""

import csv
import errno
import io
import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from convrnn.cli.app import app
from convrnn.cli.live import _read
from convrnn.errors import InputError

RATE = 8000  # the corpus's
UTTERANCE = ("--normalise", "utterance")


@pytest.fixture(scope="module")
def pcm():
    time = np.arange(RATE) / RATE
    noise = 0.02 * np.random.default_rng(0).standard_normal(RATE)
    return (32767 * (0.3 * np.sin(2 * np.pi * 440 * time**2) + noise)).astype("<i2")


def run(data, *arguments):
    result = CliRunner().invoke(app, ["live", *map(str, arguments)], input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def predicted(convrnn, trained, pcm, path, *options):
    """The prediction of ``convrnn predict`` for the samples in a file."""
    soundfile.write(path, pcm, RATE, subtype="PCM_16")
    said = convrnn("predict", trained, path, "--json", *options)
    assert said.code == 0, said.err
    return json.loads(said.out)[0]


def test_every_line_is_a_prediction_of_the_last_seconds(convrnn, trained, pcm, tmp_path):
    said = run(pcm.tobytes(), trained, "--every", 0.25, "--seconds", 0.5, "--normalise", "utterance", "--json")
    assert said.exit_code == 0, said.stderr
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["time"] for line in lines] == [0.25, 0.5, 0.75, 1.0]
    for line in lines:
        end = round(line.pop("time") * RATE)
        path = tmp_path / "a.wav"
        expected = predicted(convrnn, trained, pcm[max(0, end - RATE // 2) : end], path, "--normalise", "utterance")
        assert line == {key: expected[key] for key in ("prediction", "probabilities")}


def test_csv_has_a_header(trained, pcm):
    said = run(pcm[:3000].tobytes() + b"\0", trained, "--every", 0.2)
    assert said.exit_code == 0, said.stderr
    rows = list(csv.DictReader(io.StringIO(said.stdout)))
    assert [row["time"] for row in rows] == ["0.20", "0.38"]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in ("high", "low")}
        assert row["prediction"] == max(shares, key=shares.get)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert "warning: the model standardises features per speaker, but has only 10 s of this one" in said.stderr
    assert "warning: stdin ends in the middle of a sample, which is ignored" in said.stderr


def test_enrolment_adds_recordings_of_the_speaker(convrnn, trained, pcm, tmp_path):
    soundfile.write(tmp_path / "other.wav", pcm[::-1], RATE, subtype="PCM_16")
    said = run(pcm.tobytes(), trained, "--enrol", tmp_path / "other.wav", "--json")
    assert said.exit_code == 0, said.stderr
    assert "warning" not in said.stderr
    alone = run(pcm.tobytes(), trained, "--json")
    assert json.loads(said.stdout) != json.loads(alone.stdout)
    soundfile.write(tmp_path / "this.wav", pcm, RATE, subtype="PCM_16")
    files = (tmp_path / "other.wav", tmp_path / "this.wav")
    expected = json.loads(convrnn("predict", trained, *files, "--speaker", "anna", "--json").out)[1]
    assert json.loads(said.stdout)["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def test_another_sample_rate_is_resampled(trained, pcm):
    twice = np.repeat(pcm, 2)
    said = run(twice.tobytes(), trained, "--sample-rate", 2 * RATE, "--every", 0.5, "--json")
    assert said.exit_code == 0, said.stderr
    times = [json.loads(line)["time"] for line in said.stdout.splitlines()]
    # The resampler holds some samples back until the following ones arrive.
    assert 0.3 < times[0] < 0.5
    assert times[-1] == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (b"RIFF\x24\x00", (), "stdin begins with the header RIFF; convrnn live reads samples without one"),
        (b"\0" * 100, (), "stdin ended after 0.00625 s, less than one frame of 25 ms"),
        (b"", (), "stdin ended after 0 s, less than one frame of 25 ms"),
        (b"", ("--enrol", "nowhere.wav"), "nowhere.wav: audio file does not exist"),
        (b"", ("--normalise", "corpus"), "normalisation 'corpus' needs training statistics"),
        *(
            (b"", (option, value), f"{option} {value}: must be a number from {least} to {most}")
            for option, least, most, values in (
                ("--every", 0.01, 3600, ("inf", "nan", "1e-09", "-1", "1e+308")),
                ("--seconds", 0.1, 3600, ("inf", "nan", "0", "-1", "1e+308")),
                ("--sample-rate", 1000, 768000, ("100000000", "0", "-8000")),
            )
            for value in values
        ),
        (b"", ("--sample-rate", "1e8"), "--sample-rate"),
        (b"", ("--sample-rate", 4000), "--sample-rate 4000: contains nothing above 2000 Hz, but the model uses up to"),
        (b"", ("--accept", "silence"), "--accept: unknown value 'silence'; allowed: narrow-band"),
    ],
)
def test_impossible_requests_give_one_sentence(trained, data, options, sentence):
    said = run(data, trained, *options)
    assert (said.exit_code, said.stdout) == (2, "")
    [line] = [line for line in said.stderr.splitlines() if line.startswith("convrnn: error: ")]
    assert sentence in line


def test_it_prints_while_it_reads_and_stops_when_its_reader_does(trained, pcm):
    program = "from convrnn.cli import main; main()"
    command = [sys.executable, "-c", program, "live", trained, "--every", "0.25", "--normalise", "utterance"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(pcm[:2000].tobytes())
        process.stdin.flush()
        assert process.stdout.readline() == b"time,prediction,p_high,p_low\n"
        assert process.stdout.readline().startswith(b"0.25,")
        process.stdout.close()
        process.stdin.write(pcm[2000:].tobytes())
        process.stdin.close()
        assert process.wait() == 0
        assert b"Error" not in process.stderr.read()


def test_a_low_sample_rate_can_be_accepted(trained, pcm):
    said = run(pcm[::2].tobytes(), trained, "--sample-rate", RATE // 2, "--accept", "narrow-band", "--json")
    assert said.exit_code == 0, said.stderr
    assert "warning: --sample-rate 4000: contains nothing above 2000 Hz" in said.stderr
    assert json.loads(said.stdout.splitlines()[-1])["time"] == pytest.approx(1.0, abs=0.001)


def test_bad_recordings_of_the_speaker_are_refused(trained, pcm, tmp_path):
    soundfile.write(tmp_path / "other.wav", pcm, RATE, subtype="PCM_16")
    content = (tmp_path / "other.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:2000])
    said = run(pcm.tobytes(), trained, "--enrol", tmp_path / "other.wav", "--enrol", tmp_path / "cut.wav")
    assert (said.exit_code, said.stdout) == (2, "")
    assert "cut.wav: audio file is truncated" in said.stderr
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    said = run(pcm.tobytes(), trained, "--enrol", tmp_path / "silent.wav", "--json")
    assert said.exit_code == 0, said.stderr
    assert "silent.wav is digital silence" in said.stderr


def test_long_intervals_between_predictions_are_read_in_pieces(trained, pcm):
    said = run(np.tile(pcm, 5).tobytes(), trained, "--every", 3600, "--seconds", 3600, "--json", *UTTERANCE)
    assert said.exit_code == 0, said.stderr
    [line] = said.stdout.splitlines()
    assert json.loads(line)["time"] == 5.0
    times = [line.partition(",")[0] for line in run(np.tile(pcm, 5).tobytes(), trained, "--every", 2).stdout.split()]
    assert times == ["time", "2.00", "4.00", "5.00"]


def test_the_longest_time_is_the_same_as_in_the_library():
    from convrnn.cli import live
    from convrnn.models.live import MOST_SECONDS

    assert live._MOST_SECONDS == MOST_SECONDS


COMMAND = (sys.executable, "-c", "from convrnn.cli import main; main()", "live")


@pytest.mark.parametrize("redirection", ["<&-", "1>&- </dev/zero"])
def test_closed_streams_are_named(trained, redirection):
    command = f"{shlex.join(map(str, (*COMMAND, trained, *UTTERANCE)))} {redirection}"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stdout) == (2, "")
    [sentence] = [line for line in said.stderr.splitlines() if line.startswith("convrnn: error: ")]
    assert f"std{'in' if redirection == '<&-' else 'out'} is closed; convrnn live reads samples" in sentence
    assert "Traceback" not in said.stderr


def test_a_non_blocking_stdin_is_read_to_its_end(trained, pcm):
    """A parent may have made stdin non-blocking: what is there is read, and then more is awaited."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = (*COMMAND, trained, "--every", "0.25", *UTTERANCE)
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True) as process:
        os.close(reading)
        for half in np.split(pcm, 2):
            os.write(writing, half.tobytes())
            time.sleep(0.2)
        os.close(writing)
        lines = process.stdout.read().splitlines()
        assert process.wait() == 0
    assert [line.partition(",")[0] for line in lines] == ["time", "0.25", "0.50", "0.75", "1.00"]


def test_a_failing_stdin_gives_one_sentence():
    class Broken(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(InputError, match=r"stdin cannot be read \(Input/output error\)"):
        _read(Broken(), 10)
