"""Saved models on disk and on the Hub, and their model cards."""

import http.server
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import convrnn
from bundles import make_bundle
from convrnn.errors import InputError
from convrnn.models.card import model_card
from convrnn.training.config import TrainingConfig
from convrnn.training.fit import run


@pytest.fixture
def model(saved):
    return convrnn.load(saved / "utterance")


@pytest.fixture(scope="module")
def finished(tones, make, cache, tmp_path_factory):
    spec = make(training=TrainingConfig(batch_size=8, lr=0.01, max_epochs=1))
    return run(spec, tones, cache_dir=cache, runs_dir=tmp_path_factory.mktemp("runs"))


def test_a_saved_copy_is_the_same_model_with_a_card(finished, tones, tmp_path):
    model = convrnn.load(finished.directory)
    assert model.spec is not None
    model.save_pretrained(tmp_path / "copy")
    copy = convrnn.SavedModel.from_pretrained(tmp_path / "copy")
    assert copy.spec is None
    segments = [segment.file for segment in tones.segments()[:4]]
    names = ["s0"] * 4
    np.testing.assert_array_equal(
        copy.predict_proba(segments, speakers=names), model.predict_proba(segments, speakers=names)
    )
    card = (tmp_path / "copy" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: convrnn\n")
    assert f"accuracy {100 * finished.accuracy:.1f} %" in card
    assert all(f"| {name} | {100 * value:.1f} |" in card for name, value in finished.recalls.items())
    assert str(tones.name) not in card or "/" not in tones.name


def test_a_copy_of_a_copy_keeps_the_card(finished, tmp_path):
    convrnn.load(finished.directory).save_pretrained(tmp_path / "first")
    card = (tmp_path / "first" / "README.md").read_text()
    convrnn.load(tmp_path / "first").save_pretrained(tmp_path / "second")
    convrnn.load(tmp_path / "first").save_pretrained(tmp_path / "first")
    assert "No test is recorded" not in card
    assert (tmp_path / "second" / "README.md").read_text() == (tmp_path / "first" / "README.md").read_text() == card


def test_a_copy_does_not_tell_the_corpuss_folder(tmp_path):
    make_bundle(corpus="csv:/home/anna/secret/speech.csv").save(tmp_path / "model")
    convrnn.load(tmp_path / "model").save_pretrained(tmp_path / "copy")
    assert not any("secret" in path.read_text(errors="ignore") for path in (tmp_path / "copy").iterdir())
    assert convrnn.load(tmp_path / "copy").bundle.config.corpus == "csv:speech.csv"


def test_the_card_of_a_model_of_frames_shows_how_it_is_used():
    card = model_card(make_bundle(features={"kind": "frames", "width": 26}))
    assert "A model of sequences of frames" in card
    assert "model(frames)" in card
    assert "audio" not in card


def test_nothing_but_a_saved_model_is_replaced(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds something other than a saved model"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_card_does_not_tell_the_corpuss_folder():
    bundle = make_bundle(corpus="csv:/home/anna/secret/speech.csv")
    card = model_card(bundle)
    assert "csv:speech.csv" in card
    assert "secret" not in card


@pytest.fixture
def hub(saved):
    """A server that answers as the Hub does for the model "anna/gender"; yields the paths that were asked for."""
    files, asked = {path.name: path.read_bytes() for path in (saved / "utterance").iterdir()}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(self.path)
            path = self.path.partition("?")[0]
            name = path.rpartition("/")[2]
            if path.startswith("/api/models/anna/gender/revision/") or path == "/api/models/anna/gender":
                content = {"id": "anna/gender", "sha": "c" * 40, "siblings": [{"rfilename": n} for n in files]}
                self.answer(json.dumps(content).encode())
            elif path.startswith("/api/models/anna/gender/tree/"):
                tree = [{"type": "file", "path": n, "size": len(b), "oid": "a" * 40} for n, b in files.items()]
                self.answer(json.dumps(tree).encode())
            elif path.startswith("/anna/gender/resolve/") and name in files:
                self.answer(files[name], {"X-Repo-Commit": "c" * 40, "ETag": f'"{name}"'})
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def answer(self, body, headers=None):
            self.send_response(200)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_comes_from_the_hub(hub, saved, files, tmp_path):
    url, asked = hub
    program = """
import sys
import convrnn
model = convrnn.load("anna/gender")
print(model.predict_proba(sys.argv[1:]).tolist())
print(convrnn.load("anna/gender", revision="main").classes)
try:
    convrnn.load("anna/nothing")
except convrnn.errors.InputError as error:
    print(str(error).partition(" (")[0])
"""
    # Hub settings are read when its package is imported.
    environment = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    said = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    probabilities, classes, refusal = said.stdout.splitlines()
    expected = convrnn.load(saved / "utterance").predict_proba(files)
    np.testing.assert_array_equal(np.array(json.loads(probabilities), np.float32), expected)
    assert classes == "('child', 'female', 'male')"
    assert refusal == "anna/nothing: no such folder, and no such model on the Hugging Face Hub"
    assert not any("README" in path for path in asked)


def test_without_the_hubs_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"no such folder; to read it from the Hugging Face Hub, run: pip install"):
        convrnn.load("anna/gender")
    with pytest.raises(InputError, match="not a saved model"):
        convrnn.load("nowhere")


def test_loading_needs_no_audio_library(saved):
    program = """
import sys
for name in ("soundfile", "soxr", "kaldi_native_fbank", "pandas", "sklearn", "scipy", "lightning_fabric", "matplotlib"):
    sys.modules[name] = None
import convrnn
print(convrnn.load(sys.argv[1]).classes)
"""
    said = subprocess.run(
        [sys.executable, "-c", program, str(saved / "speaker")], capture_output=True, text=True, check=False
    )
    assert said.stdout == "('child', 'female', 'male')\n", said.stderr
