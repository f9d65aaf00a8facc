"""Measure convrnn's GPU kernels against their peers: ``python -m benchmarks.gpu``, from the root of a clone."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import report
from benchmarks.gpu import cblstm, commands, device, eager, epoch, sequences, windowed
from benchmarks.gpu.settings import PRECISIONS, Settings
from benchmarks.report import Section
from convrnn.ops.triton import tiles

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "command": commands.command,
    "table": commands.table,
    "eager": eager.run,
    "windowed": windowed.run,
    "cblstm": cblstm.run,
    "sequences": sequences.run,
    "epoch": epoch.run,
}

_DESCRIPTION = """\
Measure convrnn's GPU kernels against plain PyTorch, torch.compile and cuDNN.

All peers run in turns in one process and are compared round by round, by CUDA
events. Before anything is timed, values and gradients are checked against
float64; a peer with a wrong answer is not timed, and the exit code is 1.

sections:
  command     an epoch by convrnn compare itself
  table       a table of 100 runs by convrnn compare itself
  eager       a layer called from Python, with 128 to 20,000 windows
  windowed    the windowed LSTM of the paper's front end
  cblstm      the same in both directions, as in CBLSTM
  sequences   the LSTM over whole sequences
  epoch       an epoch of the paper's CLSTM model, the corpus on the GPU"""

_EXAMPLES = """\
Use the GPU for nothing else meanwhile. This needs the package with its extra
"speech".

examples:
  python -m benchmarks.gpu --quick
  python -m benchmarks.gpu --sections windowed --precisions fp32 bf16
  python -m benchmarks.gpu --quick --sections windowed --windows 100000
  python -m benchmarks.gpu --json gpu.json --markdown gpu.md"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, for a first impression")
    for name, choices, default in (
        ("sections", list(SECTIONS), list(SECTIONS)),
        ("precisions", list(PRECISIONS), ["fp32", "tf32", "bf16", "fp16"]),
    ):
        help_text = f"of {', '.join(choices)}; default: {', '.join(default)}"
        parser.add_argument(f"--{name}", nargs="+", choices=choices, default=default, metavar="NAME", help=help_text)
    for name, numbers, quick in (
        ("windows", windowed.FRAMES, windowed.QUICK_WINDOWS),
        ("features", windowed.FEATURES, windowed.QUICK_FEATURES),
    ):
        help_text = f"of {', '.join(map(str, numbers))}; default: all, or {quick[0]} with --quick"
        parser.add_argument(f"--{name}", nargs="+", type=int, choices=list(numbers), metavar="N", help=help_text)
    parser.add_argument("--without-compile", action="store_true", help="leave out torch.compile, the slowest part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Report what cannot work before anything is measured, rather than at the end."""
    if not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU")
    if tiles.MISSING is not None:
        parser.error(f"the GPU kernels are missing: {tiles.MISSING}")
    for path in (options.json, options.markdown):
        if path and not path.parent.is_dir():
            parser.error(f"{path.parent} is not a folder")


def _write(options: argparse.Namespace, described: dict[str, str], sections: dict[str, Section]) -> None:
    if options.json:
        options.json.write_text(report.to_json(described, sections))
    if options.markdown:
        options.markdown.write_text(report.markdown(described, list(sections.values()), "Performance on the GPU"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 if an answer was wrong and 2 if nothing can be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    settings = Settings(
        options.quick,
        tuple(PRECISIONS[name] for name in options.precisions),
        tuple(options.windows or (windowed.QUICK_WINDOWS if options.quick else windowed.FRAMES)),
        tuple(options.features or (windowed.QUICK_FEATURES if options.quick else windowed.FEATURES)),
        compiled=not options.without_compile,
    )
    described = device.describe() | {"Rounds": str(settings.effort)}
    chosen = {name: functools.partial(run, settings) for name, run in SECTIONS.items() if name in options.sections}
    return report.run_sections(described, chosen, functools.partial(_write, options, described))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; finished sections are kept", file=sys.stderr)
        sys.exit(130)
