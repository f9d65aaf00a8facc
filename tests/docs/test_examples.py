"""Every example on the pages of the documentation runs; tutorials run when the site is built."""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import convrnn
from convrnn.cli.app import app
from tones import write_tone

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
PAGES[README.name] = README.read_text(encoding="utf-8")

RUN = {
    "README.md": {},
    "index.md": {},
    "how-it-works.md": {},
    "migration.md": {},
    "how-to/cells.md": {},
    "how-to/gpu.md": {},
    "how-to/tables.md": {"seeds=1": "seeds=1, max_epochs=1"},
}
"""Pages whose Python runs in the folder of :func:`place`, and what is replaced in it so that it takes seconds."""

ELSEWHERE = {
    "how-to/export.md": "tests/cli/test_export.py",
    "how-to/features.md": "tests/docs/test_features.py",
    "how-to/trained-models.md": "tests/training/test_saved_model.py",
    "how-to/your-data.md": "tests/corpora/test_your_data.py",
    "performance.md": "what runs depends on the machine",
    "results/japanese-vowels.md": "needs data that are not here",
    "tutorials/time-series.md": "tests/docs/test_time_series.py, in the environment of aeon",
}
"""Pages whose Python is tested by another file, or why it is not."""

UNAVAILABLE = ("emodb:", "aibo:", "agender:", "audformat:", "csv:speechocean8k", "csv:/", "csv:embeddings", "--cluster")
"""What is not here: commands with it are only parsed."""

NOT_OURS = ("ray", "srun", "source", "trap", "export", "set", "sleep", "head=", "grep", "git")
"""First words of lines that need a cluster or change nothing of ours."""


def blocks(page, language):
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(page):
    """The commands in a page's shell blocks, one string each, without comments."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line]


COMMANDS = {command: page for page in PAGES for command in commands(page)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that the pages name: a corpus of tones, a trained model, recordings to predict."""
    folder = tmp_path_factory.mktemp("place")
    rows = ["file,speaker,emotion"]
    for speaker in ("anna", "bob", "carla", "dan", "eve", "finn"):
        (folder / speaker).mkdir()
        for number, (label, hertz) in enumerate([("joy", 1000), ("anger", 500)] * 2, 1):
            file = f"{speaker}/{number:03}.wav"
            write_tone(folder / file, hertz, seconds=0.5, seed=len(rows))
            rows.append(f"{file},{speaker},{label}")
    (folder / "speech.csv").write_text("\n".join(rows) + "\n")
    (folder / "new").mkdir()
    (folder / "frames").mkdir()
    frames = ["frames,speaker,emotion"]
    for number, row in enumerate(rows[1:]):
        _, speaker, label = row.split(",")
        np.save(folder / f"frames/{number}.npy", np.random.default_rng(number).normal(size=(60, 8)))
        frames.append(f"frames/{number}.npy,{speaker},{label}")
    (folder / "frames.csv").write_text("\n".join(frames) + "\n")
    for number in (1, 2):
        write_tone(folder / f"new/00{number}.wav", 700 * number, seed=number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CONVRNN_CACHE", str(folder / "cache"))
        for corpus, runs in (("csv:speech.csv", "runs"), ("csv:frames.csv", "frame-runs")):
            done = invoke(f"convrnn train {corpus} --task emotion --out {runs} --max-epochs 1 --device cpu")
            assert done.exit_code == 0, done.output
            [run] = Path(runs).iterdir()
            run.rename(run.with_name("3f2a9c0d11e85b77"))
        yield folder


def invoke(command, samples=b""):
    """What a command line of ``convrnn`` did; patterns of files are expanded as by a shell."""
    _, *words = shlex.split(command)
    words = [name for word in words for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    done = CliRunner().invoke(app, words, input=samples)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def parse(command):
    """Parses a command line of ``convrnn`` without running it; an unknown command or option is an error."""
    _, name, *words = shlex.split(command)
    typer.main.get_command(app).commands[name].make_context(name, words)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python(page, place, monkeypatch):
    if page in ELSEWHERE:
        assert page not in RUN
        return
    monkeypatch.chdir(place)
    monkeypatch.setenv("CONVRNN_CACHE", str(place / "cache"))
    names = {}
    for code in blocks(page, "python"):
        for old, new in RUN[page].items():
            code = code.replace(old, new)
        exec(code, names)  # noqa: S102 - the pages are ours


SMALLER = {
    "compare": "--max-epochs 1 --seeds 1 --jobs 1 --device cpu",
    "reproduce": "--max-epochs 1 --seeds 1 --jobs 1 --device cpu",
    "train": "--max-epochs 1 --jobs 1 --device cpu",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if re.search(r"(^|\| )convrnn ", command)])
def test_commands(command, place, tmp_path, monkeypatch):
    command = command.rpartition("| ")[2]
    name = command.split()[1]
    if any(word in command for word in UNAVAILABLE) or "MODEL" in command:
        parse(command)
        return
    if name == "compare" and ",cmgu" in command:
        command = command.replace(",cmgu", "")  # a cell that the page adds
    if ".npy" in command:
        command = command.replace("runs/", "frame-runs/").replace("new/*.npy", "frames/*.npy")
    if "--features energy" in command or "demo" in command.split():
        parse(command)
        return
    monkeypatch.chdir(place)
    monkeypatch.setenv("CONVRNN_CACHE", str(place / "cache"))
    more = SMALLER.get(name, "")
    if name == "compare" and "--models" not in command:
        more += " --models conv"
    if "--out" in command and name != "extract":
        more += f" --out {tmp_path / 'out'}"
    samples = b""
    if name == "live":
        sound, _ = soundfile.read("new/001.wav", dtype="int16")
        samples = sound.tobytes()
    done = invoke(f"{command} {more}", samples)
    assert done.exit_code == 0, done.output


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
FOR_DEVELOPERS = {"test", "docs", "torture", "dev", "dist"}


def test_the_page_on_installation_lists_every_extra():
    rows = re.findall(r"^\| `([a-z]+)` \|", PAGES["install.md"], re.MULTILINE)
    assert set(rows) == set(EXTRAS) - FOR_DEVELOPERS


def test_other_commands():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command, page in COMMANDS.items():
        where = f"{page}: {command}"
        words = shlex.split(command)
        if re.search(r"(^|\| )convrnn ", command) or words[0].startswith(NOT_OURS):
            continue
        if words[0] == "pip":
            assert words[1] == "install", where
            asked = {extra for group in re.findall(r"\[([a-z,]+)\]", command) for extra in group.split(",")}
            assert asked <= set(EXTRAS), where
        elif words[0] == "make":
            assert words[1] in targets, where
        elif words[:2] == ["python", "-c"]:
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{where}: {done.stderr}"
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, where
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), where
        else:
            assert words[0].startswith("build/"), f"{where}: nothing checks this"


def test_the_front_end_of_the_first_page():
    names = {}
    for code in blocks("index.md", "python"):
        exec(code, names)  # noqa: S102 - the page is ours
    assert list(names["y"].shape) == [8, 88, 100]
    assert names["lengths"].tolist() == [88, 86, 78, 78, 59, 43, 19, 1]
    assert isinstance(names["layer"], convrnn.nn.CLSTM)


def test_the_links_of_the_readme_lead_somewhere():
    linked = re.findall(r"\]\(([^)\s]+)\)", PAGES[README.name])
    assert len(linked) > 20
    for link in linked:
        file, _, heading = link.partition("#")
        if file.startswith("https:"):
            continue
        assert (ROOT / file).is_file(), link
        titles = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) if heading else []
        assert not heading or heading in [title.lower().replace(" ", "-") for title in titles], link


def test_the_readme_fits_on_few_screens():
    assert len(PAGES[README.name].splitlines()) <= 120
