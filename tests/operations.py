"""Small inputs for the operations, with everything optional that they take."""

import torch

from convrnn import ops

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
WINDOWED = {"rnn": ops.windowed_rnn, "gru": ops.windowed_gru, "lstm": ops.windowed_lstm}


def draw(rnn_type, *, batch=2, frames=7, features=3, hidden=4, positions=None, seed=0, dtype=torch.float64):
    """x and every parameter by name; none of them is zero, so that each one's part shows."""
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


def graph_nodes(*outputs):
    """Names of all nodes of the backward graph, each as often as it occurs."""
    seen, waiting, names = set(), [output.grad_fn for output in outputs], []
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return names
