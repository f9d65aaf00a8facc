"""Check the contenders' answers, time those that are right in turns, and compare their times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from benchmarks.measure import Effort, Spread, Times, alternate

Answer = Sequence[Tensor]
Case = Mapping[str, str | int]

TOLERANCE = 1e-4
"""Largest difference from the float64 answer that counts as agreement, relative to the tensor's largest value. It holds
where the answer is smooth in the operands."""

SQUARE = 1024
"""Rows and columns of the large matrix product."""


def answer(
    forward: Callable[[], Tensor], differentiated: Sequence[Tensor], upstream: Tensor | None
) -> Callable[[], list[Tensor]]:
    """Make the function to time: a forward pass alone in inference mode, or with a backward pass.

    Args:
        forward: The forward pass.
        differentiated: Tensors whose gradients training needs.
        upstream: Gradient of the forward pass's result, from which the backward pass starts; None for inference.

    Returns:
        A function that returns the value, followed by the gradients if ``upstream`` is given.
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
    """An implementation that is checked and timed.

    Attributes:
        name: Its name in the tables.
        run: The function to time. Its result is checked, unless ``answer`` is given.
        expected: The right answer, in float64.
        baseline: Name of our contender that computes the same; ratios are relative to its times.
        answer: Returns the result to check, if that is not ``run``'s.
        tolerance: Largest difference that counts as agreement.
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
            return float(torch.stack(differences).max())  # unlike Python's max, this keeps NaN
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
    """The measurements of one contender.

    Attributes:
        name: Name of the contender.
        milliseconds: Time of one call.
        ratio: Its time over the baseline's, round by round; None if the baseline was not timed.
        difference: Relative difference from the float64 answer.
        gflops: Useful floating-point operations per second, in 1e9; None where they were not counted.
        share: Its share of the machine's rate of matrix products in the same rounds; on a GPU, the shortest possible
            time over its time.
    """

    name: str
    milliseconds: Spread
    ratio: Spread | None
    difference: float
    gflops: float | None = None
    share: Spread | None = None

    @classmethod
    def of(
        cls, contender: Contender, difference: float, times: Mapping[str, Times], flops: int | None, share: Times | None
    ) -> Self:
        """The entry of a contender.

        Args:
            contender: The contender.
            difference: Relative difference of its answer.
            times: Seconds of one call by name, ``[rounds]``.
            flops: Useful floating-point operations of one call, if known.
            share: Its share by rounds, if known.
        """
        seconds, baseline = times[contender.name], times.get(contender.baseline)
        return cls(
            contender.name,
            Spread.of(1e3 * seconds),
            None if baseline is None else Spread.of(seconds / baseline),
            difference,
            None if flops is None else Spread.of(flops / seconds).median / 1e9,
            None if share is None else Spread.of(share),
        )


@dataclass(frozen=True)
class Comparison:
    """The measurements of all contenders on one case.

    Attributes:
        case: The case's sizes and options, by name.
        rounds: Number of rounds.
        entries: One for each contender that was timed, in order.
        refused: One line for each contender that was not timed because its answer is wrong.
        product_gflops: Rates of the matrix products timed in the same rounds, by shape.
    """

    case: Case
    rounds: int
    entries: list[Entry]
    refused: list[str]
    product_gflops: dict[str, float] = field(default_factory=dict)

    def entry(self, name: str) -> Entry | None:
        """The entry of a contender; None if it was not timed."""
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
        """A function that computes it into preallocated memory."""
        torch.manual_seed(0)
        a, b, out = (
            torch.randn(self.rows, self.inner),
            torch.randn(self.inner, self.columns),
            torch.empty(self.rows, self.columns),
        )
        return lambda: torch.mm(a, b, out=out)


def describe(case: Case) -> str:
    """The case in one line.

    Example:
        >>> describe({"pass": "forward", "threads": 2})
        'pass forward, threads 2'
    """
    return ", ".join(f"{key} {value}" for key, value in case.items())


def check(case: Case, contenders: Sequence[Contender]) -> tuple[list[tuple[Contender, float]], list[str]]:
    """The contenders whose answers are right, with their differences, and one line for each of the others."""
    agreed, refused = [], []
    for contender in contenders:
        difference = contender.difference()
        if difference <= contender.tolerance:  # false for NaN
            agreed.append((contender, difference))
        else:
            refused.append(
                f"{contender.name} was not timed at {describe(case)}: its answer is {difference:.1e} away from float64"
            )
    return agreed, refused


def compare(
    case: Case,
    contenders: Sequence[Contender],
    effort: Effort,
    *,
    flops: int | None = None,
    products: Sequence[Product] = (),
) -> Comparison:
    """Check all contenders, then time those whose answers are right, in turns.

    Args:
        case: The case's sizes and options, by name.
        contenders: The contenders, in the order of their turns.
        effort: How long to measure.
        flops: Useful floating-point operations of one run, if known.
        products: Matrix products to time in the same rounds; the fastest gives the machine's rate.
    """
    agreed, refused = check(case, contenders)
    runs: dict[str, Callable[[], object]] = {contender.name: contender.run for contender, _ in agreed}
    runs |= {product.name: product.prepare() for product in products}
    times = alternate(runs, effort)
    rates = {product.name: product.flops / times[product.name] for product in products}
    product_gflops = {name: Spread.of(rate).median / 1e9 for name, rate in rates.items()}
    fastest = max(product_gflops, key=lambda name: product_gflops[name], default=None)

    entries = []
    for contender, difference in agreed:
        share = None if flops is None or fastest is None else flops / times[contender.name] / rates[fastest]
        entries.append(Entry.of(contender, difference, times, flops, share))
    return Comparison(case, len(next(iter(times.values()), ())), entries, refused, product_gflops)
