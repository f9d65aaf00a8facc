"""Check that contenders agree, time them in turns, and set them against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.measure import Effort, Spread, alternate

Answer = Sequence[Tensor]
Case = Mapping[str, str | int]

TOLERANCE = 1e-4
"""Largest difference from the answer in float64 that is still agreement, as a share of a tensor's largest value, where
the answer is smooth in the operands."""

SQUARE = 1024
"""Rows and columns of the large matrix product."""


def answer(
    forward: Callable[[], Tensor], differentiated: Sequence[Tensor], upstream: Tensor | None
) -> Callable[[], list[Tensor]]:
    """What is timed of a forward pass: alone in inference mode, or with gradients.

    Args:
        forward: The forward pass.
        differentiated: Those tensors whose gradients training asks for.
        upstream: Gradient of the forward pass's result that the backward pass starts from; None is inference.

    Returns:
        A function that returns the value and, with ``upstream``, the gradients after it.
    """

    def infer() -> list[Tensor]:
        with torch.inference_mode():
            return [forward()]

    def train() -> list[Tensor]:
        y = forward()
        return [y.detach(), *torch.autograd.grad(y, differentiated, upstream)]

    return infer if upstream is None else train


@dataclass(frozen=True, eq=False)
class Contender:
    """Something that is timed.

    Attributes:
        name: What the tables call it.
        run: What is timed. It returns what is checked, unless ``answer`` does.
        expected: What it has to return, in float64.
        baseline: Name of the contender that computes the same and is ours: ratios are times over its times.
        answer: What is checked, where that is not what is timed.
        tolerance: Largest difference that is still agreement.
    """

    name: str
    run: Callable[[], Answer]
    expected: Answer
    baseline: str
    answer: Callable[[], Answer] | None = None
    tolerance: float = TOLERANCE

    def difference(self) -> float:
        """Largest difference between its answer and the expected one, relative to a tensor's largest value."""
        try:
            answer = (self.answer or self.run)()
            differences = [_difference(*pair) for pair in zip(answer, self.expected, strict=True)]
            return float(torch.stack(differences).max())  # unlike Python's max, it does not lose NaN
        except RuntimeError as error:
            # A GPU reports its errors late.
            error.add_note(f"in the answer of {self.name}")
            raise


def _difference(got: Tensor, expected: Tensor) -> Tensor:
    if got.shape != expected.shape:
        raise ValueError(f"an answer has shape {list(got.shape)} instead of {list(expected.shape)}")
    # A gradient may be all zeros, and must then match exactly.
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return (got - expected).abs().max() / scale


@dataclass(frozen=True)
class Entry:
    """What was measured of one contender.

    Attributes:
        name: Of the contender.
        milliseconds: Time of one call.
        ratio: Its time over the baseline's, round by round; None where the baseline was refused.
        difference: From the answer in float64, relative.
        gflops: Useful floating-point operations per second, in 1e9; None where nobody counted them.
        share: Of the machine's rate of matrix products in the same rounds; on a GPU, of the least time that it takes.
    """

    name: str
    milliseconds: Spread
    ratio: Spread | None
    difference: float
    gflops: float | None = None
    share: Spread | None = None


@dataclass(frozen=True)
class Comparison:
    """Contenders on one case.

    Attributes:
        case: What they computed, by name.
        rounds: How many there were.
        entries: One for each contender that was timed, in their order.
        refused: One line for each contender that was not, because its answer is wrong.
        product_gflops: Rates of the matrix products that were timed along with them, by shape.
    """

    case: Case
    rounds: int
    entries: list[Entry]
    refused: list[str]
    product_gflops: dict[str, float] = field(default_factory=dict)

    def entry(self, name: str) -> Entry | None:
        """The entry of a contender, None where it was refused or did not take part."""
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True)
class Product:
    """A matrix product ``[rows, inner] x [inner, columns]`` that shows how fast the machine multiplies."""

    rows: int
    inner: int
    columns: int

    @property
    def name(self) -> str:
        """Its shape.

        Example:
            >>> Product(2016, 100, 400).name
            '[2016, 100] x [100, 400]'
        """
        return f"[{self.rows}, {self.inner}] x [{self.inner}, {self.columns}]"

    @property
    def flops(self) -> int:
        """Floating-point operations, two per multiply-add."""
        return 2 * self.rows * self.inner * self.columns

    def prepare(self) -> Callable[[], Tensor]:
        """A function that computes it into memory that is already there."""
        torch.manual_seed(0)
        a, b, out = (
            torch.randn(self.rows, self.inner),
            torch.randn(self.inner, self.columns),
            torch.empty(self.rows, self.columns),
        )
        return lambda: torch.mm(a, b, out=out)


def describe(case: Case) -> str:
    """One line.

    Example:
        >>> describe({"pass": "forward", "threads": 2})
        'pass forward, threads 2'
    """
    return ", ".join(f"{key} {value}" for key, value in case.items())


def compare(
    case: Case,
    contenders: Sequence[Contender],
    effort: Effort,
    *,
    flops: int | None = None,
    products: Sequence[Product] = (),
) -> Comparison:
    """Check all contenders, then time those that agree with what is expected, in turns.

    Args:
        case: What they compute, by name.
        contenders: In the order of the turns.
        effort: How long to measure.
        flops: Useful floating-point operations of one run, where somebody counted them.
        products: Matrix products that are timed in the same rounds; the fastest is the machine's rate.
    """
    differences = {contender.name: contender.difference() for contender in contenders}
    # Written so that NaN does not agree.
    agreed = [contender for contender in contenders if differences[contender.name] <= contender.tolerance]
    refused = [
        f"{c.name} was not timed at {describe(case)}: its answer is {differences[c.name]:.1e} away from float64"
        for c in contenders
        if c not in agreed
    ]
    runs: dict[str, Callable[[], object]] = {contender.name: contender.run for contender in agreed}
    runs |= {product.name: product.prepare() for product in products}
    times = alternate(runs, effort)
    rates = {product.name: product.flops / times[product.name] for product in products}
    product_gflops = {name: Spread.of(rate).median / 1e9 for name, rate in rates.items()}
    fastest = max(product_gflops, key=lambda name: product_gflops[name], default=None)

    entries = []
    for contender in agreed:
        seconds = times[contender.name]
        entry = Entry(
            contender.name,
            Spread.of(1e3 * seconds),
            Spread.of(seconds / times[contender.baseline]) if contender.baseline in times else None,
            differences[contender.name],
            None if flops is None else Spread.of(flops / seconds).median / 1e9,
            None if flops is None or fastest is None else Spread.of(flops / seconds / rates[fastest]),
        )
        entries.append(entry)
    return Comparison(case, len(next(iter(times.values()), ())), entries, refused, product_gflops)
