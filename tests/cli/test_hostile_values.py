"""Every value of every option and argument gives a result or one sentence."""

import pytest
import typer
from typer.testing import CliRunner

from convrnn.cli.app import app
from convrnn.experiments import grid
from convrnn.models import export

HOSTILE = [
    *("", " ", "nan", "inf", "-inf", "-1", "0", "1e400", "0x10", str(2**70), "9" * 5000, "½"),
    *(
        "a\nb",
        "a\0b",
        "\N{PILE OF POO}",
        "--",
        "-",
        "../../..",
        "/dev/null",
        "x" * 100_000,
        "\udcff",
        "[bold]",
        "%s{0}",
    ),
]


@pytest.fixture
def nothing_is_done(monkeypatch):
    """Ends the command where training or export, which take long, would begin."""

    def done(*_, **__):
        raise typer.Exit(0)

    monkeypatch.setattr(grid, "run_in_processes", done)
    monkeypatch.setattr(export, "export_onnx", done)
    monkeypatch.setattr(export, "export_audonnx", done)


def commands(corpus, trained, tmp_path):
    """Every command with arguments that work, which the test then replaces one by one."""
    wav = corpus.removeprefix("csv:").replace("data.csv", "s0-0.wav")
    task, out = ["--task", "pitch"], ["--out", str(tmp_path / "out")]
    return {
        "check": [corpus],
        "compare": [corpus, *task, *out],
        "reproduce": ["table1", "--corpus", corpus, *task, *out],
        "train": [corpus, *task, *out],
        "evaluate": [str(trained), corpus],
        "predict": [str(trained), wav, "--speaker", "a"],
        "live": [str(trained)],
        "export": [str(trained), str(tmp_path / "model.onnx")],
        "extract": [str(trained), wav, "--speaker", "a", "--out", str(tmp_path / "features.csv")],
        "models": [],
    }


def calls(base, step):
    """The arguments with hostile values in place of each argument and option: every ``step``-th value for each."""
    start = 0
    for name, command in typer.main.get_command(app).commands.items():
        given = base[name]
        for parameter in command.params:
            option = next((each for each in parameter.opts if each.startswith("--")), None)
            start += 1
            for value in HOSTILE[start % step :: step]:
                if option is None:
                    place = next(p for p, each in enumerate(command.params) if each is parameter)
                    yield [name, *given[:place], value, *given[place + 1 :]]
                elif not getattr(parameter, "is_flag", False):
                    yield [name, *given, option, value]
            if getattr(parameter, "is_flag", False):
                yield [name, *given, f"{option}=1"]


@pytest.mark.usefixtures("nothing_is_done")
def test_no_value_ends_in_a_traceback(corpus, trained, tmp_path, monkeypatch):
    inside = tmp_path / "one" / "two" / "three"  # so that files written to ../../.. stay in the test's folder
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    faults, count = [], 0
    # With a step of 1 this takes a minute.
    for arguments in calls(commands(corpus, trained, tmp_path), step=6):
        count += 1
        result = CliRunner().invoke(app, arguments, input=b"")
        shown = [argument[:40] for argument in arguments]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            faults.append(f"{shown}: {type(result.exception).__name__}: {str(result.exception)[:200]}")
        elif result.exit_code not in (0, 1, 2):
            faults.append(f"{shown}: exit code {result.exit_code}")
        elif result.exit_code == 2:
            [*_, last] = result.stderr.splitlines() or [""]
            if not last.startswith("convrnn: error: ") or len(last) > 330:
                faults.append(f"{shown}: {result.stderr[-300:]!r}")
    assert faults == []
    assert count > 300
