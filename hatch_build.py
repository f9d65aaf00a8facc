"""Compiles the CPU kernel into one library next to the Python code when the package is built.

The library is plain C, does not depend on PyTorch and is loaded with ctypes, so one wheel serves every version of
Python 3 and PyTorch on a platform. If it cannot be compiled, the package is built without it and runs the same
equations in plain PyTorch. ``CONVRNN_BUILD=require`` makes that an error; ``CONVRNN_BUILD=skip`` leaves the library
out. CC, CFLAGS and LDFLAGS are respected. ``CONVRNN_PLATFORM`` is the platform tag of the wheel if CC compiles for
another machine than this one; `release/build.py` sets it.

As a program it only compiles the library, for example with sanitizers::

    python hatch_build.py --output build/asan/_native.so --sanitize address,undefined
"""

import argparse
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program, without hatchling
    BuildHookInterface = object  # type: ignore[assignment,misc,unused-ignore]

ROOT = Path(__file__).parent
LIBRARY = Path("src/convrnn/ops/_native.so")
KERNELS = "kernel_*.c"  # compiled once for each instruction set
PLATFORM = "CONVRNN_PLATFORM"  # the variable with the wheel's platform tag

FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-pthread"),
    *("-Wall", "-Wextra", "-Wvla"),
)
AVX512 = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512")
AVX2 = ("-mavx2", "-mfma")


class CompileError(Exception):
    """The library cannot be compiled, for the reason in the message."""


def find_compiler() -> list[str]:
    """The C compiler's command: CC, or else the first of cc, gcc and clang that is installed.

    Raises:
        CompileError: if there is none.
    """
    wanted = shlex.split(os.environ.get("CC", ""))
    for command in [wanted] if wanted else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    raise CompileError(f"no C compiler was found ({' '.join(wanted) or 'cc, gcc, clang'})")


def instruction_sets(machine: str) -> dict[str, tuple[str, ...]]:
    """Names and compiler flags of the instruction sets that the kernel is compiled for on a machine.

    Example:
        >>> list(instruction_sets("arm64"))
        ['portable']
    """
    x86 = machine.lower() in ("x86_64", "amd64")
    return {"portable": ()} | ({"avx2": AVX2, "avx512": AVX512} if x86 else {})


def target_machine() -> str:
    """The processor that the library is for: that of ``CONVRNN_PLATFORM``, or else this machine's.

    Raises:
        CompileError: if the platform is none that the library can be compiled for.
    """
    target = os.environ.get(PLATFORM)
    if not target:
        return platform.machine()
    match = re.fullmatch(r"(?:linux|(?:manylinux|musllinux|macosx)_\d+_\d+)_([a-z0-9_]+)", target)
    if not match:
        raise CompileError(
            f"{PLATFORM} is {target!r}, expected a platform tag such as manylinux_2_17_aarch64 or macosx_11_0_arm64"
        )
    return match[1]


def target_is_linux() -> bool:
    """Whether the library is for Linux."""
    return "linux" in os.environ.get(PLATFORM, sys.platform)


def digest_of(sources: Path) -> str:
    """The version of the C files: the first 12 digits of their SHA-256, which runs record as the kernel's version."""
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def compile_library(sources: Path, output: Path, extra_flags: Sequence[str] = ()) -> None:
    """Compile all C files in ``sources`` into the shared library ``output``, which is replaced in one step.

    Args:
        sources: Folder of the C files.
        output: Where to write the library.
        extra_flags: Flags for the compiler and the linker, after all others.

    Raises:
        CompileError: if there is no compiler, if it fails, with its output, or as :func:`target_machine`.
    """
    compiler = find_compiler()
    sets = instruction_sets(target_machine())
    flags = [*FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), *extra_flags]
    kernels = sorted(sources.glob(KERNELS))
    units = [
        (kernel.name, f"{kernel.stem}_{name}", [f"-DCONVRNN_ISA={name}", *isa])
        for kernel in kernels
        for name, isa in sets.items()
    ]
    shared = ["-DCONVRNN_X86=1"] if "avx2" in sets else []
    shared.append(f'-DCONVRNN_SOURCES="{digest_of(sources)}"')
    units += [(path.name, path.stem, shared) for path in sorted(sources.glob("*.c")) if path not in kernels]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        objects = []
        for source, name, own in units:
            objects.append(str(Path(folder, f"{name}.o")))
            _run([*compiler, *flags, *own, "-c", str(sources / source), "-o", objects[-1]])
        whole = Path(folder, output.name)
        libraries = ["-lm", "-ldl"] if target_is_linux() else []
        linker_flags = [*shlex.split(os.environ.get("LDFLAGS", "")), *extra_flags]
        _run([*compiler, "-shared", "-pthread", *objects, "-o", str(whole), *linker_flags, *libraries])
        whole.replace(output)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CompileError(f"{shlex.join(command)} failed:\n{result.stderr.strip()}")


def platform_tag() -> str:
    """The wheel tag of the library for any version of Python 3: ``py3-none-`` and the platform.

    The platform is ``CONVRNN_PLATFORM`` or else this machine's own.

    Example:
        >>> platform_tag().startswith("py3-none-")
        True
    """
    if target := os.environ.get(PLATFORM):
        return f"py3-none-{target}"
    from packaging.tags import platform_tags  # comes with hatchling

    # Not sysconfig's platform: on macOS it may be that of a universal Python, or a version that pip does not know. The
    # manylinux and musllinux tags promise compatibility with other systems, which one machine's compiler cannot.
    return "py3-none-" + next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg,unused-ignore]
    """Puts the library into the wheel, or next to the sources in an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile the library before hatchling collects the wheel's files."""
        if self.target_name != "wheel":
            return
        output = ROOT / LIBRARY
        wanted = os.environ.get("CONVRNN_BUILD", "")
        if os.environ.get(PLATFORM):
            build_data["tag"] = platform_tag()
        if wanted == "skip":
            output.unlink(missing_ok=True)
            return
        try:
            compile_library(ROOT / "csrc", output)
        except (CompileError, OSError) as error:  # such as a read-only folder of sources
            output.unlink(missing_ok=True)
            if wanted == "require" or os.environ.get(PLATFORM):  # a wheel for a platform is nothing without it
                raise
            self.app.display_warning(
                f"The CPU kernel was not built, so the LSTMs of convrnn will run in plain PyTorch, several times "
                f"slower; install a C compiler (gcc or clang) and install convrnn again. Reason: {error}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = platform_tag()
        build_data["artifacts"].append(LIBRARY.as_posix())


def main() -> int:
    """Compile according to the command line; returns 2 if that fails, otherwise 0."""
    parser = argparse.ArgumentParser(description="Compile the CPU kernel of convrnn.")
    parser.add_argument("--output", type=Path, default=ROOT / LIBRARY, help="the library (default: %(default)s)")
    parser.add_argument("--sanitize", metavar="NAMES", help="sanitizers, such as address,undefined or thread")
    arguments = parser.parse_args()
    extra = [f"-fsanitize={arguments.sanitize}", "-fno-omit-frame-pointer", "-g"] if arguments.sanitize else []
    try:
        compile_library(ROOT / "csrc", arguments.output, extra)
    except CompileError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
