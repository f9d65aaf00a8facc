"""Building the CPU kernel, tested with small C files instead."""

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.tags import sys_tags

ROOT = Path(__file__).parents[1]


@pytest.fixture
def hatch_build():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "kernel_answer.c").write_text(
        "#define PASTE_(a, b) a##_##b\n#define PASTE(a, b) PASTE_(a, b)\n"
        "int PASTE(answer, CONVRNN_ISA)(void) { return 6; }\n"
    )
    (folder / "other.c").write_text(
        "int answer_portable(void);\n"
        '__attribute__((visibility("default"))) int answer(void) { return 7 * answer_portable(); }\n'
    )
    return folder


@pytest.fixture
def compiler(hatch_build):
    try:
        hatch_build.find_compiler()
    except hatch_build.CompileError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("compiler")
def test_all_files_become_one_library(hatch_build, sources, tmp_path):
    output = tmp_path / "new" / "library.so"
    hatch_build.compile_library(sources, output)
    assert ctypes.CDLL(str(output)).answer() == 42
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.usefixtures("compiler")
def test_a_compile_error_is_reported_and_keeps_the_old_library(hatch_build, sources, tmp_path):
    output = tmp_path / "library.so"
    output.write_bytes(b"before")
    (sources / "other.c").write_text("int answer(void) { return nothing; }\n")
    with pytest.raises(hatch_build.CompileError, match=r"other\.c.*failed:\n(.|\n)*nothing"):
        hatch_build.compile_library(sources, output)
    assert output.read_bytes() == b"before"
    assert not [path for path in tmp_path.iterdir() if path not in (output, sources)]


def test_the_compiler_is_ccs_and_a_missing_one_is_named(hatch_build, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -pipe")
    with pytest.raises(hatch_build.CompileError, match=r"no C compiler was found \(no-such-compiler -pipe\)"):
        hatch_build.compile_library(sources, tmp_path / "library.so")
    monkeypatch.setenv("CC", f"{sys.executable} -B")
    assert hatch_build.find_compiler() == [sys.executable, "-B"]
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(hatch_build.CompileError, match=r"no C compiler was found \(cc, gcc, clang\)"):
        hatch_build.find_compiler()


def test_instruction_sets_depend_on_the_machine(hatch_build):
    assert list(hatch_build.instruction_sets("x86_64")) == ["portable", "avx2", "avx512"]
    assert list(hatch_build.instruction_sets("AMD64")) == ["portable", "avx2", "avx512"]
    assert list(hatch_build.instruction_sets("aarch64")) == ["portable"]


def test_the_wheel_is_for_every_python_3_on_this_platform(hatch_build):
    tag = hatch_build.platform_tag()
    assert tag.startswith("py3-none-")
    assert tag in map(str, sys_tags())


@pytest.mark.parametrize(
    ("accepted", "own"),
    [
        (["manylinux_2_36_x86_64", "manylinux1_x86_64", "linux_x86_64"], "linux_x86_64"),
        (["musllinux_1_2_aarch64", "linux_aarch64"], "linux_aarch64"),
        (["macosx_14_0_arm64", "macosx_14_0_universal2", "macosx_13_0_arm64"], "macosx_14_0_arm64"),
    ],
)
def test_the_platform_tag_is_the_machines_own(hatch_build, monkeypatch, accepted, own):
    monkeypatch.setattr("packaging.tags.platform_tags", lambda: iter(accepted))
    assert hatch_build.platform_tag() == f"py3-none-{own}"


@pytest.mark.parametrize(
    ("platform", "machine", "linux"),
    [
        ("manylinux_2_17_aarch64", "aarch64", True),
        ("musllinux_1_2_x86_64", "x86_64", True),
        ("linux_riscv64", "riscv64", True),
        ("macosx_11_0_arm64", "arm64", False),
    ],
)
def test_the_wheel_is_for_the_platform_that_was_asked_for(hatch_build, monkeypatch, platform, machine, linux):
    monkeypatch.setenv("CONVRNN_PLATFORM", platform)
    assert hatch_build.platform_tag() == f"py3-none-{platform}"
    assert hatch_build.target_machine() == machine
    assert hatch_build.target_is_linux() == linux


def test_a_platform_without_a_kernel_is_refused(hatch_build, sources, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVRNN_PLATFORM", "win_amd64")
    monkeypatch.setenv("CC", f"{sys.executable} -B")
    with pytest.raises(
        hatch_build.CompileError, match="CONVRNN_PLATFORM is 'win_amd64', expected a platform tag such as"
    ):
        hatch_build.compile_library(sources, tmp_path / "library.so")


class App:
    def __init__(self):
        self.warnings = []

    def display_warning(self, message):
        self.warnings.append(message)


def run_hook(module, monkeypatch, folder, **environment):
    """The hook's build data and warnings for a package in ``folder``, which contains an old library."""
    library = folder / module.LIBRARY
    library.parent.mkdir(parents=True)
    library.write_bytes(b"before")
    monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.delenv("CONVRNN_BUILD", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    hook = object.__new__(type("Hook", (module.CustomBuildHook,), {"target_name": "wheel", "app": App()}))
    data = {"artifacts": []}
    hook.initialize("standard", data)
    return data, hook.app.warnings, library


@pytest.mark.usefixtures("compiler", "sources")
def test_the_hook_puts_the_library_into_the_wheel(hatch_build, monkeypatch, tmp_path):
    data, warnings, library = run_hook(hatch_build, monkeypatch, tmp_path)
    assert data["artifacts"] == ["src/convrnn/ops/_native.so"]
    assert data["tag"] == hatch_build.platform_tag()
    assert data["pure_python"] is False
    assert not warnings
    assert ctypes.CDLL(str(library)).answer() == 42


@pytest.mark.usefixtures("sources")
def test_without_a_compiler_the_hook_warns_and_builds_only_the_package(hatch_build, monkeypatch, tmp_path):
    data, [warning], library = run_hook(hatch_build, monkeypatch, tmp_path, CC="no-such-compiler")
    assert data == {"artifacts": []}
    assert "plain PyTorch" in warning
    assert "no-such-compiler" in warning
    assert not library.exists()


@pytest.mark.usefixtures("compiler", "sources")
def test_a_read_only_source_folder_gives_the_same_warning(hatch_build, monkeypatch, tmp_path):
    def fail(**_):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(hatch_build.tempfile, "TemporaryDirectory", fail)
    data, [warning], _ = run_hook(hatch_build, monkeypatch, tmp_path)
    assert data == {"artifacts": []}
    assert "Permission denied" in warning


@pytest.mark.usefixtures("sources")
def test_the_library_can_be_required_or_left_out(hatch_build, monkeypatch, tmp_path):
    with pytest.raises(hatch_build.CompileError, match="no-such-compiler"):
        run_hook(hatch_build, monkeypatch, tmp_path / "a", CC="no-such-compiler", CONVRNN_BUILD="require")
    data, warnings, library = run_hook(hatch_build, monkeypatch, tmp_path / "b", CONVRNN_BUILD="skip")
    assert data == {"artifacts": []}
    assert not warnings
    assert not library.exists()


@pytest.mark.usefixtures("sources")
def test_a_wheel_for_another_platform_has_the_library_or_was_to_be_without(hatch_build, monkeypatch, tmp_path):
    other = {"CONVRNN_PLATFORM": "manylinux_2_17_aarch64"}
    with pytest.raises(hatch_build.CompileError, match="no-such-compiler"):
        run_hook(hatch_build, monkeypatch, tmp_path / "a", CC="no-such-compiler", **other)
    without = {"CONVRNN_PLATFORM": "win_amd64.win_arm64", "CONVRNN_BUILD": "skip"}
    data, warnings, library = run_hook(hatch_build, monkeypatch, tmp_path / "b", **without)
    assert data == {"artifacts": [], "tag": "py3-none-win_amd64.win_arm64"}
    assert not warnings
    assert not library.exists()


def test_run_as_a_program_it_explains_the_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    command = [sys.executable, str(ROOT / "hatch_build.py"), "--output", str(tmp_path / "library.so")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "no C compiler was found (no-such-compiler)\n"


@pytest.mark.usefixtures("compiler")
@pytest.mark.skipif(sys.platform != "linux", reason="links as Linux does")
def test_the_driver_calls_the_library(hatch_build, tmp_path):
    library = hatch_build.ROOT / hatch_build.LIBRARY
    if not library.exists():
        pytest.skip("the library was not built")
    driver = tmp_path / "driver"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-L{library.parent}", f"-Wl,-rpath,{library.parent}"]
    source = hatch_build.ROOT / "csrc" / "driver" / "driver.c"
    command = [*hatch_build.find_compiler(), *flags, source, f"-l:{library.name}", "-lm", "-o", driver]
    subprocess.run(command, check=True, capture_output=True)

    def run(*options):
        return subprocess.run([driver, *options], capture_output=True, text=True, check=False, timeout=60)

    for options in (["-n", "1"], ["-n", "1", "-m", "training", "-p"], ["-n", "1", "-m", "backward", "-k", "0"]):
        assert run("-b", "2", "-f", "9", *options).stdout.startswith("calls 1, median ")
    refused = run("-k", "9", "-f", "8")
    assert (refused.returncode, refused.stderr) == (2, "driver: a window is longer than a sequence\n")
