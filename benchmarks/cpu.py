"""Measure convrnn's CPU kernel against its peers: ``python -m benchmarks.cpu``, from the root of a clone."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine, models, plot, report, scaling, sequences, windowed
from benchmarks.report import Section
from benchmarks.settings import Settings
from convrnn.ops import native

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "windowed": windowed.run,
    "sequences": sequences.run,
    "models": models.run,
    "scaling": scaling.run,
}

_DESCRIPTION = """\
Measure convrnn's CPU kernel beside plain PyTorch, torch.compile, nn.LSTM and ONNX Runtime.

All peers run in turns in one process and are compared round by round. Before
anything is timed, values and gradients are checked against float64; a peer
with a wrong answer is not timed, and the exit code is 1.

sections:
  windowed    the windowed LSTM of the paper's front end, time and memory
  sequences   the LSTM over whole sequences
  models      the paper's whole classifiers, training steps and inference
  scaling     cost against window length, stride and number of windows"""

_EXAMPLES = """\
It takes about 20 minutes on 2 cores, about 2 minutes with --quick. Let nothing
else run meanwhile. It needs the package with its extra "speech", and for the
peer ONNX Runtime: pip install onnx onnxruntime

examples:
  python -m benchmarks.cpu --quick
  python -m benchmarks.cpu --sections windowed scaling --threads 2
  python -m benchmarks.cpu --json cpu.json --plot cpu.svg --markdown docs/performance.md"""


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds, for a first impression")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME", help="default: all"
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=_count,
        default=sorted({1, min(2, machine.cores())}),
        metavar="N",
        help="numbers of threads; models, scaling and memory use the largest (default: 1 2)",
    )
    parser.add_argument(
        "--memory",
        choices=("kept", "system"),
        default="kept",
        help="whether freed memory stays with the process, which suits every peer, or goes back to the system as the C "
        "library sees fit (default: kept)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw windowed and scaling, such as cpu.svg or cpu.png"
    )
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with one sentence before anything is measured, rather than at the end."""
    if native.MISSING is not None:
        parser.error(f"the CPU kernel is missing: {native.MISSING}")
    for path in (options.json, options.markdown, options.plot):
        if path and not path.parent.is_dir():
            parser.error(f"{path.parent} is not a folder")
    if options.plot and options.plot.suffix not in plot.SUFFIXES:
        parser.error(f"--plot {options.plot} must end in {' or '.join(plot.SUFFIXES)}")
    if options.plot and not {"windowed", "scaling"} & set(options.sections):
        parser.error("--plot draws the sections windowed and scaling, but --sections has neither")


def _write(options: argparse.Namespace, described: dict[str, str], sections: dict[str, Section]) -> None:
    if options.json:
        options.json.write_text(report.to_json(described, sections))
    if options.markdown:
        options.markdown.write_text(report.markdown(described, list(sections.values())))
    if options.plot:
        case = {"windows": 2016, "features": windowed.FIRST_LAYER, "threads": max(options.threads)}
        compared = sections["windowed"].comparisons if "windowed" in sections else ()
        bars = [comparison for comparison in compared if case.items() <= comparison.case.items()]
        plot.draw(bars, sections["scaling"].extra["curves"] if "scaling" in sections else (), options.plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; 1 where an answer was wrong, 2 where nothing can be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    settings = Settings(options.quick, tuple(options.threads))
    kept = options.memory == "kept" and machine.keep_freed_memory()
    described = machine.describe() | {
        "Freed memory": "kept by the process" if kept else "as the C library does",
        "Rounds": str(settings.effort),
    }
    if warning := machine.warning():
        described["Warning"] = warning
    began = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for name, value in described.items():
        console.print(f"{name}: {value}", markup=False)
    sections: dict[str, Section] = {}
    for name in SECTIONS:
        if name in options.sections:
            sections[name] = SECTIONS[name](settings)
            report.print_section(sections[name], console)
            # After every section, so that an interrupted run keeps the finished ones.
            _write(options, described, sections)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes in all", file=sys.stderr)
    return int(any(section.refused for section in sections.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the sections that were finished are kept", file=sys.stderr)
        sys.exit(130)
