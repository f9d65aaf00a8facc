"""Builds the source distribution and the wheels of the last commit into ``dist``, on one machine: ``make dist``.

The source distribution is made from the committed files, and the wheels from that. Each platform of
:data:`TARGETS` has a wheel with the CPU kernel, which Zig's C compiler (the package ``ziglang``) compiles for it,
whatever machine this is. Windows, for which there is no kernel, has a wheel without it. For any other platform pip
takes the source distribution, and compiles the kernel if there is a C compiler.

Files that are built twice from the same commit, with the versions in ``constraints.txt``, are the same bit by bit.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

TARGETS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
}
"""The platform tags of the wheels with the CPU kernel, and Zig's names of these platforms."""

WITHOUT_KERNEL = "win_amd64.win_arm64"
"""The platform tags of the one wheel without the CPU kernel."""

_OF_THE_BUILD = ("CC", "CFLAGS", "LDFLAGS", "CONVRNN_BUILD", "CONVRNN_PLATFORM", "SOURCE_DATE_EPOCH")


class ReleaseError(Exception):
    """The release cannot be built, for the reason in the message."""


def build(output: Path, platforms: Mapping[str, str]) -> list[Path]:
    """Builds the source distribution and the wheels.

    Args:
        output: The folder of the files; if it exists, it is replaced.
        platforms: The wheels with the CPU kernel, as in :data:`TARGETS`.

    Returns:
        The files.

    Raises:
        ReleaseError: if files are changed and not committed, or a step fails, with its output.
    """
    if changed := _run(["git", "status", "--porcelain"], ROOT).strip():
        raise ReleaseError(f"uncommitted changes would not be in the release; commit or remove them first:\n{changed}")
    with tempfile.TemporaryDirectory() as place:
        checkout, built = Path(place, "checkout"), Path(place, "dist")
        checkout.mkdir()
        _run(["git", "archive", "--output", f"{place}/commit.tar", "HEAD"], ROOT)
        _unpack(Path(place, "commit.tar"), checkout)
        _hatch("sdist", checkout, built)
        (source,) = built.iterdir()
        _unpack(source, Path(place))
        sources = Path(place, source.name.removesuffix(".tar.gz"))
        for platform, target in platforms.items():
            compiler = f"{sys.executable} -m ziglang cc -target {target}"
            # Without names and debug information, of which Zig writes a lot. A library for macOS holds its own path,
            # which would be that of this temporary folder.
            linker_flags = "-s -Wl,-install_name,@rpath/_native.so" if "macos" in target else "-s"
            flags = {"CC": compiler, "CFLAGS": "-g0", "LDFLAGS": linker_flags, "CONVRNN_BUILD": "require"}
            _hatch("wheel", sources, built, CONVRNN_PLATFORM=platform, **flags)
        _hatch("wheel", sources, built, CONVRNN_PLATFORM=WITHOUT_KERNEL, CONVRNN_BUILD="skip")
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(built, output)
    return sorted(output.iterdir())


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")


def _hatch(kind: str, folder: Path, output: Path, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in _OF_THE_BUILD}
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(output)]
    _run(command, folder, kept | environment)


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{(result.stderr or result.stdout).strip()}")
    return result.stdout


def main() -> int:
    """Build according to the command line; returns 2 if that fails, otherwise 0."""
    parser = argparse.ArgumentParser(prog="python -m release.build", description="Build the files of a release.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder of the files (default: %(default)s)")
    parser.add_argument(
        "--platform",
        action="append",
        choices=TARGETS,
        help="only this wheel with the CPU kernel; may be given again (default: all)",
    )
    arguments = parser.parse_args()
    chosen = arguments.platform or TARGETS
    try:
        files = build(arguments.output, {platform: TARGETS[platform] for platform in chosen})
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 2
    for file in files:
        print(f"{file.stat().st_size / 1e6:5.2f} MB  {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
