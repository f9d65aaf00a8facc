"""Measure convrnn's CPU kernel against its peers: ``python -m benchmarks.cpu``, from the root of a clone."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from benchmarks import cells, dtypes, machine, models, plot, report, scaling, sequences, small, waveform, windowed
from benchmarks.report import Section
from benchmarks.settings import Settings
from convrnn.ops import native

SECTIONS: dict[str, Callable[[Settings], Section]] = {
    "windowed": windowed.run,
    "cells": cells.run,
    "dtypes": dtypes.run,
    "waveform": waveform.run,
    "sequences": sequences.run,
    "models": models.run,
    "small": small.run,
    "scaling": scaling.run,
}

_DESCRIPTION = """\
Measure convrnn's CPU kernel against plain PyTorch, torch.compile, PyTorch's
recurrent modules and ONNX Runtime.

All peers run in turns in one process and are compared round by round. Before
anything is timed, values and gradients are checked against float64; a peer
with a wrong answer is not timed, and the exit code is 1.

sections:
  windowed    the windowed LSTM of the paper's front end, time and memory
  cells       the GRU and the simple recurrent network likewise
  dtypes      the windowed LSTM in bfloat16, in float16 and under autocast
  waveform    long windows over the samples of a raw waveform, time and memory
  sequences   all three cells over whole sequences
  models      the paper's whole classifiers, training steps and inference
  small       one utterance of 1 s, and Python's part of a call
  scaling     cost against window length, stride and number of windows"""

_EXAMPLES = """\
This takes about half an hour on 2 cores, about 3 minutes with --quick. Run
nothing else meanwhile. It needs the package with its extra "speech"; to
include ONNX Runtime, run: pip install onnx onnxruntime

examples:
  python -m benchmarks.cpu --quick
  python -m benchmarks.cpu --sections windowed scaling --threads 2
  python -m benchmarks.cpu --sections waveform --instruction-set avx2
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
        help="numbers of threads; models, scaling and memory use the largest, and with --quick all sections but "
        "windowed and waveform (default: 1 2)",
    )
    parser.add_argument(
        "--instruction-set",
        choices=native.instruction_sets(),
        metavar="NAME",
        help="of the CPU kernel: avx512, avx2 or portable, where the machine has it (default: the best); with avx2, "
        "PyTorch, MKL and oneDNN are limited to it too, but ONNX Runtime cannot be",
    )
    parser.add_argument(
        "--memory",
        choices=("kept", "system"),
        default="kept",
        help="whether the process keeps freed memory, which is best for every peer, or the C library decides when to "
        "return it to the system (default: kept)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot the sections windowed and scaling (.svg, .png or .pdf)"
    )
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Report what cannot work before anything is measured, rather than at the end."""
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
    """Run the command; the exit code is 1 if an answer was wrong and 2 if nothing can be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    wanted = options.instruction_set
    if wanted == "avx2":
        machine.limit_to_avx2()
    with machine.own_compiler_cache(), native.use_instruction_set(wanted) if wanted else nullcontext():
        return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    settings = Settings(options.quick, tuple(options.threads))
    kept = options.memory == "kept" and machine.keep_freed_memory()
    described = machine.describe() | {
        "Freed memory": "kept by the process" if kept else "left to the C library",
        "Rounds": str(settings.effort),
    }
    if warning := machine.warning():
        described["Warning"] = warning
    chosen = {name: functools.partial(run, settings) for name, run in SECTIONS.items() if name in options.sections}
    return report.run_sections(described, chosen, functools.partial(_write, options, described))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; finished sections are kept", file=sys.stderr)
        sys.exit(130)
