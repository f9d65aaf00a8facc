"""Optimisation settings and their defaults; a light import, so that commands can show them in their help."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from convrnn.arguments import check_number

MOST_SEED = 2**63 - 1
"""Largest seed: JSON readers accept 64-bit integers."""

MOST_EPOCHS = 10**6
"""Maximum number of epochs; at one second each they take eleven days."""

MOST_DEVICES = 64
"""Maximum number of devices of a machine that train together."""

LIMITS: dict[str, tuple[float, float, str]] = {
    "batch_size": (1, 2**16, ""),
    "learning_rate": (1e-8, 1.0, "since a step changes every weight by about that much, and weights start below 1"),
    "max_epochs": (1, MOST_EPOCHS, ""),
    "patience": (1, MOST_EPOCHS, ""),
}
"""The arguments of :func:`training_config`: smallest and largest value, and the reason if it is not obvious."""

Precision = Literal["32", "tf32", "bf16-mixed"]
Device = Literal["cpu", "cuda", "mps"]

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(BaseModel):
    """The optimisation of section IV-A: Adam, with early stopping on the validation misclassification rate.

    Attributes:
        batch_size: Utterances per step (the last batches of an epoch may be smaller).
        lr: Adam's learning rate.
        betas: Adam's decay rates in PyTorch's convention. The paper's "beta1 = 0.1, beta2 = 0.001" are the same values,
            given as 1 - beta as in its framework.
        eps: Adam's epsilon.
        gradient_clip_norm: Maximum norm of the gradient over all parameters; None for no clipping.
        max_epochs: Maximum number of epochs.
        patience: Training stops after this many epochs without a lower validation misclassification rate.

    Example:
        >>> TrainingConfig(max_epochs=15).betas
        (0.9, 0.999)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=32, ge=1, le=2**16)
    lr: float = Field(default=0.002, gt=0, le=1000)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    gradient_clip_norm: float | None = Field(default=None, gt=0, le=1e9)
    max_epochs: int = Field(default=100, ge=1, le=MOST_EPOCHS)
    patience: int = Field(default=12, ge=1, le=MOST_EPOCHS)


DEFAULTS = TrainingConfig()
"""The defaults of functions and commands."""


def training_config(max_epochs: int, patience: int, batch_size: int, learning_rate: float) -> TrainingConfig:
    """The training config with these values and defaults for all others.

    Raises:
        InputError: A value is outside :data:`LIMITS`.
    """
    values = {"max_epochs": max_epochs, "patience": patience, "batch_size": batch_size, "learning_rate": learning_rate}
    for name, value in values.items():
        check_number(name, value, *LIMITS[name])
    return TrainingConfig(max_epochs=max_epochs, patience=patience, batch_size=batch_size, lr=learning_rate)
