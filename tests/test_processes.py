import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from convrnn import worker
from convrnn.processes import Event, WorkFailedError, run_in_processes, serve

WORK = """
import os, signal, time
from convrnn.errors import InputError

def double(context, item, report):
    report(f"{context}{item}")
    return 2 * item, os.getpid()

def slow_first(context, item, report):
    time.sleep(0.3 if item == 0 else 0.0)
    return item

def fail_at_two(context, item, report):
    open(os.path.join(context, str(item)), "w").close()
    if item == 2:
        raise InputError("two is not allowed")
    return item

def crash(context, item, report):
    raise ZeroDivisionError("no message\\nof one line")

def die(context, item, report):
    os.kill(os.getpid(), signal.SIGKILL)

def leave_pid_and_sleep(context, item, report):
    with open(os.path.join(context, f"tmp{os.getpid()}"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(os.path.join(context, f"tmp{os.getpid()}"), os.path.join(context, "pid"))
    time.sleep(600)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A module of work functions that spawned processes can import."""
    (tmp_path / "pool_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("pool_work")
    del sys.modules["pool_work"]


def test_results_and_events_come_in_the_order_of_the_items(work):
    events = []
    results = run_in_processes(work.double, "item ", [3, 1, 2], jobs=1, on_event=events.append)
    assert [value for value, _ in results] == [6, 2, 4]
    assert all(pid != os.getpid() for _, pid in results)
    assert len({pid for _, pid in results}) == 1
    kinds = [(event.kind, event.index) for event in events]
    assert sorted(kinds) == sorted((kind, index) for kind in ("started", "report", "done") for index in range(3))
    assert Event("report", 1, "item 1") in events
    assert kinds.index(("started", 1)) < kinds.index(("report", 1)) < kinds.index(("done", 1))


def test_the_order_of_results_does_not_depend_on_who_finishes_first(work):
    done = []
    results = run_in_processes(
        work.slow_first, None, [0, 1, 2], jobs=2, on_event=lambda e: done.append(e.index) if e.kind == "done" else None
    )
    assert results == [0, 1, 2]
    assert sorted(done) == [0, 1, 2]


def test_the_first_failure_stops_the_rest_and_keeps_its_sentence(work, tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    with pytest.raises(WorkFailedError, match=r"^two is not allowed$") as caught:
        run_in_processes(work.fail_at_two, str(folder), [1, 2, 3, 4], jobs=1)
    assert caught.value.index == 1
    assert caught.value.is_input_error
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_a_programming_error_keeps_its_type_and_traceback(work):
    with pytest.raises(WorkFailedError) as caught:
        run_in_processes(work.crash, None, [0], jobs=1)
    assert caught.value.message.startswith("ZeroDivisionError: no message")
    assert "in crash" in caught.value.details
    assert caught.value.__notes__ == [caught.value.details]
    assert not caught.value.is_input_error


def test_a_killed_worker_is_noticed(work):
    with pytest.raises(WorkFailedError, match="was killed, perhaps for lack of memory"):
        run_in_processes(work.die, None, [0, 1], jobs=2)


def test_jobs_below_one_are_refused():
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        run_in_processes(print, None, [1], jobs=0)


SLOW_IMPORT = """
import sys
if sys.argv[0].endswith("worker.py"):
    open(__file__ + ".importing", "w").close()
    time.sleep(600)
"""

PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
import pool_work
from convrnn.processes import run_in_processes
run_in_processes(getattr(pool_work, sys.argv[2]), sys.argv[1], [0, 1], jobs=2)
"""


@pytest.mark.usefixtures("work")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path), "leave_pid_and_sleep"]
    with subprocess.Popen(command) as parent:
        pid = int(_wait_for(tmp_path / "pid").read_text())
        assert _alive(pid)
        parent.send_signal(signal.SIGKILL)
    _end_soon([pid])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers through /proc")
@pytest.mark.usefixtures("work")
def test_workers_end_with_their_parent_during_their_imports(tmp_path):
    # Importing the work's module takes longer than they may live.
    (tmp_path / "pool_work.py").write_text(f"{WORK}{SLOW_IMPORT}")
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path), "double"]
    with subprocess.Popen(command) as parent:
        _wait_for(tmp_path / "pool_work.py.importing")
        workers = list(map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()))
        assert len(workers) == 2
        assert all(map(_alive, workers))
        parent.send_signal(signal.SIGKILL)
    _end_soon(workers)


@pytest.mark.usefixtures("work")
def test_workers_end_with_their_parent_without_the_kernels_help(tmp_path):
    # As on macOS: the same program without its call of prctl.
    program = tmp_path / "worker.py"
    program.write_text(Path(worker.__file__).read_text().replace('sys.platform == "linux"', "False"))
    (tmp_path / "parent.py").write_text(
        f"import convrnn.processes, pathlib\nconvrnn.processes._PROGRAM = pathlib.Path({str(program)!r})\n{PARENT}"
    )
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path), "leave_pid_and_sleep"]
    with subprocess.Popen(command) as parent:
        pid = int(_wait_for(tmp_path / "pid").read_text())
        parent.send_signal(signal.SIGKILL)
    _end_soon([pid])


@pytest.mark.usefixtures("work")
def test_a_script_needs_no_guard_and_is_not_run_again(tmp_path):
    (tmp_path / "parent.py").write_text(f"print('ran', flush=True)\n{PARENT}")
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path), "double"]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "ran\n"


def test_work_that_cannot_be_imported_gives_an_error(work, tmp_path, capfd):
    (tmp_path / "pool_work.py").unlink()
    with pytest.raises(WorkFailedError, match="its worker process ended with code 1"):
        run_in_processes(work.double, None, [0], jobs=1)
    assert "No module named 'pool_work'" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers through /proc")
def test_a_context_that_cannot_be_pickled_leaves_no_worker(work):
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        run_in_processes(work.double, lambda: None, [0], jobs=1)
    assert children.read_text() == before


def test_an_interrupt_stops_the_workers(work, tmp_path):
    def interrupt(_):
        _wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_processes(work.leave_pid_and_sleep, str(tmp_path), [0], jobs=1, on_event=interrupt)
    assert not _alive(int((tmp_path / "pid").read_text()))


def _wait_for(path: Path) -> Path:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)
    return path


def _end_soon(processes: list[int]) -> None:
    # They end at once, or in half a second without the kernel's help; the rest is for a busy machine.
    deadline = time.monotonic() + 5
    while any(map(_alive, processes)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is still listed.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_worker_whose_parent_leaves_before_its_answer_ends_without_a_traceback():
    parents, workers = Pipe()

    def close_and_answer(_context, item, _report):
        parents.close()
        return item

    # A local function cannot be pickled, so the worker receives it directly.
    sent = iter([(close_and_answer, None), 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "recv", lambda: next(sent), raising=False)
        assert serve(workers) is None
