"""What the kernels' operations do with an LSTM's tensors, on the CPU and on the GPU alike."""

from collections.abc import Callable, Sequence

from torch import Tensor

from convrnn.ops.checks import check_memory

DIFFERENTIABLE = (
    *("x", "weight_ih", "weight_hh"),
    *("bias", "weight_peephole", "initial_hidden", "initial_cell"),
)
"""Names of an LSTM's tensors that have gradients, in the order of its arguments."""

Tensors = dict[str, Tensor | None]


def named(*given: Tensor | None) -> Tensors:
    """An LSTM's tensors by name, ``lengths`` the last of them."""
    return dict(zip((*DIFFERENTIABLE, "lengths"), given, strict=True))


def there(tensors: Tensors, *names: str) -> list[Tensor]:
    """The tensors of these names that are not None.

    Example:
        >>> import torch
        >>> there({"x": torch.ones(1), "bias": None}, "x", "bias")
        [tensor([1.])]
    """
    return [tensor for name in names if (tensor := tensors[name]) is not None]


def contiguous(tensors: Tensors) -> Tensors:
    """The tensors, each in one piece of memory.

    Raises:
        ValueError: naming a tensor to be copied that has no memory.
    """
    return {
        name: tensor if tensor is None or tensor.is_contiguous() else _copied(name, tensor)
        for name, tensor in tensors.items()
    }


def _copied(name: str, tensor: Tensor) -> Tensor:
    check_memory(name, tensor)
    return tensor.contiguous()


def fake_gradients(tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor]:
    """The list that a backward operation gives, for a compiler that asks for shapes and dtypes alone.

    Args:
        tensors: The seven differentiable ones.
        with_x: Whether x has a gradient; it is empty otherwise.
    """
    x, *parameters = tensors
    assert x is not None
    grad_x = x.new_empty(x.shape if with_x else 0)
    return [grad_x, *(parameter.new_empty(parameter.shape) for parameter in parameters if parameter is not None)]


def hand_out(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor | None]:
    """A backward operation's list in the order of all seven tensors, None for what is not there."""
    grad_x, *rest = gradients
    left = iter(rest)
    return [grad_x if with_x else None, *(None if tensor is None else next(left) for tensor in tensors[1:])]


def refuse_second_derivative(kernel: str) -> Callable[..., None]:
    """The backward pass of a backward pass, which raises.

    Args:
        kernel: What the sentence calls the kernel, with its verb.
    """

    def refuse(*_: object) -> None:
        raise RuntimeError(
            f"the {kernel} be differentiated once; for second derivatives run the forward pass within "
            'convrnn.ops.use_backend("reference")'
        )

    return refuse
