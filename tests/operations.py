"""Small inputs for the operations, including all optional ones."""

import functools
from contextlib import ExitStack, contextmanager

import torch

from convrnn import ops

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
WINDOWED = {"rnn": ops.windowed_rnn, "gru": ops.windowed_gru, "lstm": ops.windowed_lstm}
SEQUENCES = {"rnn": ops.rnn, "gru": ops.gru, "lstm": ops.lstm}
TORCH = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}

# The operations that have native kernels, with every reduction.
NATIVE = {
    "rnn": functools.partial(ops.rnn, nonlinearity="sigmoid"),
    "gru": functools.partial(ops.gru, reset_after=True),
    "lstm": ops.lstm,
    "windowed-rnn": functools.partial(ops.windowed_rnn, kernel_size=3, stride=2, reduce="max", nonlinearity="relu"),
    "windowed-gru": functools.partial(ops.windowed_gru, kernel_size=3, stride=2),
    "windowed-gru-after": functools.partial(ops.windowed_gru, kernel_size=3, stride=2, reduce="none", reset_after=True),
    "windowed-last": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2),
    "windowed-mean": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="mean", sequence="hidden"),
    "windowed-max": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="max"),
    "windowed-none": functools.partial(ops.windowed_lstm, kernel_size=3, stride=2, reduce="none", sequence="hidden"),
}
OUTPUTS = {"y", "hidden", "cell"}


def draw(rnn_type, *, batch=2, frames=7, features=3, hidden=4, positions=None, seed=0, dtype=torch.float64):
    """x and every parameter by name; none is zero, so that each of them affects the result."""
    generator = torch.Generator().manual_seed(seed)
    rows = GATES[rnn_type] * hidden
    shapes = {
        "x": (batch, frames, features),
        "weight_ih": (rows, features) if positions is None else (positions, rows, features),
        "weight_hh": (rows, hidden),
        "bias": (rows,),
        **({"bias_hn": (hidden,)} if rnn_type == "gru" else {}),
        **({"weight_peephole": (3, hidden)} if rnn_type == "lstm" else {}),
        "initial_hidden": (hidden,),
        **({"initial_cell": (hidden,)} if rnn_type == "lstm" else {}),
    }
    return {name: torch.randn(shape, generator=generator, dtype=dtype) * 0.7 for name, shape in shapes.items()}


def draw_for(rnn_type, options, **sizes):
    """As ``draw``, for these options: a GRU that resets before the product has no second bias."""
    tensors = draw(rnn_type, **sizes)
    if not options.get("reset_after"):
        tensors.pop("bias_hn", None)
    return tensors


def load_torch(module, tensors, suffix=""):
    """Copies drawn parameters into PyTorch's module of the same cell; for a GRU, one that resets after the product."""
    bias_hh = torch.zeros_like(tensors["bias"])
    if "bias_hn" in tensors:
        bias_hh[-len(tensors["bias_hn"]) :] = tensors["bias_hn"]
    named = {"weight_ih": tensors["weight_ih"], "weight_hh": tensors["weight_hh"], "bias_ih": tensors["bias"]}
    state = {f"{name}_l0{suffix}": value for name, value in (named | {"bias_hh": bias_hh}).items()}
    module.load_state_dict(state, strict=False)


def cell_of(operation):
    """The name of the cell of an operation."""
    return getattr(operation, "func", operation).__name__.removeprefix("windowed_")


def draw_float32(operation=ops.lstm, *, batch=4, frames=11, features=5, hidden=21, without=(), **options):
    """As ``draw_for`` an operation, in float32, scaled so that no gate saturates, whatever the sizes."""
    sizes = {"batch": batch, "frames": frames, "features": features, "hidden": hidden}
    own = getattr(operation, "keywords", {})
    tensors = draw_for(cell_of(operation), own, **sizes, dtype=torch.float32, **options)
    tensors["weight_ih"] /= features**0.5
    tensors["weight_hh"] /= hidden**0.5
    return tensors | dict.fromkeys(tensors.keys() & set(without))


def draw_lengths(batch, frames, seed=0):
    """Lengths of a batch: the first sequence is the longest, the others have any length from 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.tensor([frames]), torch.randint(frames + 1, (batch - 1,), generator=generator)])


@contextmanager
def on(instruction_set):
    """Within the context, operations run on the native kernels for this instruction set; for None on the reference."""
    with ExitStack() as stack:
        stack.enter_context(ops.use_backend("reference" if instruction_set is None else "native"))
        if instruction_set is not None:
            stack.enter_context(ops.native.use_instruction_set(instruction_set))
        yield


def outputs_of(operation, tensors, **options):
    """The outputs by name: "y", or "hidden" and, of an LSTM, "cell"."""
    result = operation(**tensors, **options)
    if not isinstance(result, torch.Tensor):
        return dict(zip(("hidden", "cell"), result, strict=True))
    return {"y" if is_windowed(operation, options) else "hidden": result}


def is_windowed(operation, options=None):
    """Whether a call, perhaps with some arguments bound already, is over windows."""
    return "kernel_size" in {**getattr(operation, "keywords", {}), **(options or {})}


def values_and_gradients(operation, tensors, *, dtype=torch.float32, used=None, mask=None, **options):
    """Outputs and the gradients of every given tensor, by name.

    The cost is a sum of the outputs that ``used`` names, where ``mask`` is not 0, with random weights that depend only
    on the shapes.
    """
    leaves = {name: t.detach().to(dtype).requires_grad_() for name, t in tensors.items() if t is not None}
    outputs = outputs_of(operation, tensors | leaves, **options)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(y.shape, generator=generator).to(y.device) for name, y in outputs.items()}
    used = used or tuple(outputs)
    gradients = torch.autograd.grad(
        [outputs[name] for name in used],
        list(leaves.values()),
        [(weights[name] if mask is None else weights[name] * mask).to(dtype) for name in used],
        materialize_grads=True,
    )
    named = {f"gradient of {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    return {name: y.detach() for name, y in outputs.items()} | named


def native_and_reference(instruction_set, operation, tensors, **options):
    """``values_and_gradients`` of both."""
    results = []
    for backend in (instruction_set, None):
        with on(backend):
            results.append(values_and_gradients(operation, tensors, **options))
    return results


def same(results, others):
    """Whether every bit is the same in two results of ``values_and_gradients``."""
    return results.keys() == others.keys() and all(torch.equal(results[name], others[name]) for name in results)


def graph_nodes(*outputs):
    """Names of all nodes of the backward graph, with repetitions."""
    seen, waiting, names = set(), [output.grad_fn for output in outputs], []
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return names
