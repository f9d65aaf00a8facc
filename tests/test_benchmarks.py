import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import cpu, dtypes, machine, sequences, small, windowed
from benchmarks.compare import check
from benchmarks.gpu import cblstm, layers
from benchmarks.gpu import sequences as gpu_sequences
from benchmarks.gpu.settings import PRECISIONS
from benchmarks.peers import COMPILED, PEERS, REFERENCE
from benchmarks.problem import GATES, Problem, differentiated, draw
from benchmarks.problem import windowed as run_windowed
from torch._inductor.runtime.cache_dir_utils import cache_dir
from torch.utils.flop_counter import FlopCounterMode

from convrnn import ops
from convrnn.ops.native import library
from native_kernels import needs_library

PASSES = pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
CELLS = pytest.mark.parametrize("cell", GATES)


def _is_right(found):
    agreed, refused = check({}, found)
    assert not refused
    assert len(agreed) == len(found)


@needs_library
@CELLS
@PASSES
@pytest.mark.parametrize("features", [26, 7], ids=["first layer", "gradient of x"])
def test_all_peers_of_a_cell_give_the_exact_answer(cell, training, features):
    problem = Problem(2, 13, features, hidden=12, cell=cell)
    peers = [peer for peer in PEERS[cell] if peer is not COMPILED]  # takes long
    found, missing = windowed.contenders(problem, training, peers)
    assert not missing
    assert {contender.baseline for contender in found} <= {contender.name for contender in found}
    _is_right(found)


@CELLS
def test_a_wrong_answer_is_refused(cell):
    problem = Problem(2, 13, 26, hidden=12, cell=cell)
    [contender], _ = windowed.contenders(problem, False, [REFERENCE])
    wrong = replace(contender, run=lambda: [1.001 * y for y in contender.run()])
    agreed, [line] = check({}, [wrong])
    assert not agreed
    assert "was not timed" in line


@PASSES
@pytest.mark.parametrize(
    ("cell", "as_torch", "products", "vectors"),
    [("lstm", True, 1, 4), ("gru", True, 0, 3), ("gru", False, 1, 2), ("rnn", False, 0, 1)],
)
def test_useful_operations_are_those_that_pytorch_counts_less_the_unneeded(cell, as_torch, products, vectors, training):
    # The reference also multiplies the first state, which is zero: by one vector for all windows, but where the reset
    # gate acts on the state, by one for each window. And it computes the output gate of an LSTM's last step.
    problem = Problem(2, 13, 26, hidden=12, cell=cell, as_torch=as_torch)
    operands = draw(problem)
    with FlopCounterMode(display=False) as counter, ops.use_backend("reference"):
        y = run_windowed(problem, **operands)
        if training:
            torch.autograd.grad(y.sum(), differentiated(operands))
    unneeded = (3 if training else 1) * products * problem.windows + (2 if training else 1) * vectors
    assert counter.get_total_flops() == problem.useful_flops(training) + 2 * unneeded * problem.hidden**2


@needs_library
@CELLS
@PASSES
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_all_layers_over_whole_sequences_give_the_exact_answer(cell, training, bidirectional, ragged):
    _is_right(sequences.contenders(sequences.Case(3, 6, bidirectional, ragged, cell), training))


@PASSES
@pytest.mark.parametrize("make", ["windows", "one direction", "both directions"])
def test_layers_of_the_gpu_benchmark_give_the_exact_answer(monkeypatch, make, training):
    # On the CPU, where neither kernels nor CUDA graphs run, as a test of what is compared.
    for section in (cblstm, gpu_sequences):
        monkeypatch.setattr(section, "DEVICE", "cpu")
    monkeypatch.setattr(layers, "graphed", lambda run: run)
    monkeypatch.setattr(layers.ops, "use_backend", lambda _: nullcontext())
    precision = PRECISIONS["fp32"]
    if make == "windows":
        found, _ = cblstm.contenders(9, training, precision)
    else:
        found, _ = gpu_sequences.contenders(2, 5, make == "both directions", training, precision)
    assert len(found) == 6
    _is_right(found)


@needs_library
@PASSES
def test_narrow_dtypes_give_the_exact_answer_rounded_once(training):
    _is_right(dtypes.contenders(Problem(2, 13, 26, hidden=12), training))


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("what", [small.LAYER, small.MODEL])
def test_small_calls_give_the_exact_answer_also_in_onnx_runtime(what):
    found, missing = small.contenders(what)
    assert not missing
    _is_right(found)


@needs_library
@torch.inference_mode()
def test_the_kernel_alone_computes_what_a_call_of_it_computes():
    problem = Problem(1, 13, 26, hidden=12)
    operands = draw(problem)
    results = []
    repeat = small.kernel_alone(lambda: results.append(run_windowed(problem, **operands)))
    [y] = results
    first = y.clone()
    y.zero_()
    repeat()
    assert first.any()
    assert torch.equal(y, first)


@pytest.mark.skipif("avx2" not in library.instruction_sets(), reason="the kernel has no AVX2 here")
def test_with_avx2_the_program_starts_again_with_its_peers_limited(monkeypatch):
    started = []

    def start(program, arguments, environment):
        started.append((program, arguments))
        os.environ.update(environment)
        raise SystemExit

    for name in ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "execve", start)
    assert machine.limits().startswith("none")
    with pytest.raises(SystemExit):
        cpu.main(["--instruction-set", "avx2"])
    assert started == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in machine.limits()
    machine.limit_to_avx2()
    assert len(started) == 1


def test_help_describes_every_section(capsys):
    with pytest.raises(SystemExit):
        cpu.main(["--help"])
    printed = capsys.readouterr().out
    assert [name for name in cpu.SECTIONS if f"\n  {name}  " not in printed] == []


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_compiled_programs_of_another_instruction_set_are_not_used(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    folders = []
    for _ in range(2):
        with machine.own_compiler_cache():
            folders.append(Path(cache_dir()))
            assert list(folders[-1].iterdir()) == []
    assert folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders)
    assert os.environ.get(name) == before
