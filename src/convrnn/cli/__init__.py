"""The command ``convrnn``: one module per group of commands, :mod:`app` puts them together, :mod:`console` talks."""

import sys

_EXTRAS = frozenset(
    {
        "typer",
        "rich",
        "lightning",
        "soundfile",
        "soxr",
        "kaldi_native_fbank",
        "pandas",
        "audmetric",
        "sklearn",
        "matplotlib",
    }
)


def main() -> None:
    """Run the command line; the entry point of the console script.

    Results go to stdout, everything else to stderr. Exit codes: 0; 1 where ``convrnn check`` finds an error; 2 for bad
    input, a full disk or Ctrl-C, with one sentence. A traceback is a defect of the program.
    """
    try:
        from convrnn.cli.app import app

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRAS:
            raise
        print(
            f"convrnn: error: the command line needs {error.name}, which is not installed; "
            "run: pip install 'convrnn[speech]'",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("convrnn: error: interrupted", file=sys.stderr)
        sys.exit(2)
