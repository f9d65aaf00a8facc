"""Checks the files of a release in ``dist`` before they are uploaded: ``make check-dist``.

- None is missing, and all are of the version of ``pyproject.toml``; ``twine`` accepts their metadata.
- Every wheel holds the same Python files as the source distribution.
- Every library is for the processor, the system and its oldest version in the name of the wheel, and needs nothing but
  the system's own C library. ``auditwheel`` judges those for Linux.
"""

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from release.build import ROOT, TARGETS, WITHOUT_KERNEL

LIBRARY = "convrnn/ops/_native.so"

_PROCESSORS = {"x86_64": 0x01000007, "arm64": 0x0100000C}  # of Mach-O


def defects(folder: Path) -> Iterator[str]:
    """What is wrong with the files of a release, one sentence each.

    Args:
        folder: Where :mod:`release.build` wrote them.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    wheels = {
        platform: folder / f"convrnn-{version}-py3-none-{platform}.whl" for platform in (*TARGETS, WITHOUT_KERNEL)
    }
    source = folder / f"convrnn-{version}.tar.gz"
    wanted, found = {source, *wheels.values()}, set(folder.iterdir())
    if wanted != found:
        missing, others = ("; ".join(sorted(path.name for path in paths)) for paths in (wanted - found, found - wanted))
        yield f"{folder}: missing: {missing or 'nothing'}; not of this release: {others or 'nothing'}"
        return
    twine = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(found))],
        capture_output=True,
        text=True,
        check=False,
    )
    if twine.returncode:
        yield f"twine check: {twine.stdout.strip()}"
    python = _python_of_source(source)
    for platform, wheel in wheels.items():
        with zipfile.ZipFile(wheel) as files:
            content = {name: files.read(name) for name in files.namelist() if name.startswith("convrnn/")}
        library = content.pop(LIBRARY, None)
        if content != python:
            yield f"{wheel.name}: its files are not those of {source.name}"
        if (library is None) != (platform == WITHOUT_KERNEL):
            yield f"{wheel.name}: {'has no' if library is None else 'has a'} library"
        elif library is not None:
            judge = _defects_on_macos if platform.startswith("macosx") else _defects_on_linux
            yield from (f"{wheel.name}: {defect}" for defect in judge(platform, wheel, library))


def _python_of_source(source: Path) -> dict[str, bytes]:
    inside = re.compile(r"[^/]+/src/(convrnn/.+)")
    with tarfile.open(source) as files:
        return {
            match[1]: stream.read()
            for member in files
            if (match := inside.fullmatch(member.name)) and (stream := files.extractfile(member))
        }


def _defects_on_linux(platform: str, wheel: Path, library: bytes) -> Iterator[str]:
    del library
    # An empty folder of libraries: this machine's own are none of those that the wheel will meet.
    with tempfile.TemporaryDirectory() as nothing:
        command = [sys.executable, "-m", "auditwheel", "show", "--json", "--ldpaths", nothing, str(wheel)]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode:
        yield f"auditwheel: {shown.stderr.strip()}"
        return
    found = json.loads(shown.stdout)
    # musl's library is named libc.so, and musl takes that name for itself; auditwheel knows only Alpine's name for it.
    allowed = {"libc.so"} if platform.startswith("musllinux") else set()
    if foreign := set(found["external_libs"]) - allowed:
        yield f"needs {', '.join(sorted(foreign))}"
    tag = found["sym_tag"] if allowed else found["overall_tag"]
    if tag != platform:
        yield f"auditwheel finds it fit for {tag}"


def _defects_on_macos(platform: str, wheel: Path, library: bytes) -> Iterator[str]:
    del wheel
    from macholib.mach_o import LC_BUILD_VERSION, LC_CODE_SIGNATURE, LC_LOAD_DYLIB, MH_DYLIB
    from macholib.MachO import MachO

    with tempfile.NamedTemporaryFile(suffix=".dylib") as file:
        file.write(library)
        file.flush()
        (header,) = MachO(file.name).headers
    _, major, minor, processor = platform.split("_", 3)
    if header.header.filetype != MH_DYLIB or header.header.cputype != _PROCESSORS[processor]:
        yield f"the library is not for {processor}"
    commands = {load.cmd: (command, data) for load, command, data in header.commands}
    needed = {data.rstrip(b"\0").decode() for load, _, data in header.commands if load.cmd == LC_LOAD_DYLIB}
    if needed != {"/usr/lib/libSystem.B.dylib"}:
        yield f"needs {', '.join(sorted(needed))}"
    oldest = commands[LC_BUILD_VERSION][0].minos
    if oldest != (int(major) << 16 | int(minor) << 8):
        yield f"is for macOS {oldest >> 16}.{oldest >> 8 & 255} or later"
    # Apple's processors run nothing that is not signed, if only by the linker.
    if processor == "arm64" and LC_CODE_SIGNATURE not in commands:
        yield "is not signed"


def main() -> int:
    """Check according to the command line; returns 2 if something is wrong, otherwise 0."""
    parser = argparse.ArgumentParser(prog="python -m release.check", description="Check the files of a release.")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist", help="folder (default: %(default)s)")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        print(f"{folder}: is not a folder; run make dist first", file=sys.stderr)
        return 2
    found = list(defects(folder))
    for defect in found:
        print(defect, file=sys.stderr)
    if not found:
        print(f"{folder}: {len(list(folder.iterdir()))} files, all as they should be")
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main())
