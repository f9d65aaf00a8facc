"""What an exported model computes: features, if it takes samples; standardisation; classes."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from convrnn.errors import InputError
from convrnn.features.normalise import CONSTANT, NormalisePolicy
from convrnn.models.bundle import Bundle
from convrnn.ops import geometry


class OnnxNetwork(nn.Module):
    """What a file computes: features are standardised according to the policy, then classified.

    Statistics are computed in float64, as :class:`convrnn.features.normalise.Statistics` does.

    Args:
        bundle: The trained model.
        policy: The normalisation policy.
        samples: Whether the input is samples, of which the features are computed first.

    Attributes:
        output: Name of the output.

    Raises:
        InputError: The features cannot be computed from samples here, or the policy is "corpus" and the model has no
            training statistics.
    """

    mean: Tensor
    std: Tensor
    output = "log_probabilities"

    def __init__(self, bundle: Bundle, policy: NormalisePolicy, *, samples: bool) -> None:
        super().__init__()
        config = bundle.config.features
        self.features = config.to_torch() if samples else None
        if samples and self.features is None:
            raise InputError(f"{config.description} cannot be computed from samples by the exported model")
        statistics = bundle.normaliser(policy).statistics
        self.policy = policy
        # A copy: the model itself may be in use, for example training on a GPU.
        self.model = copy.deepcopy(bundle.model).cpu()
        for name in ("mean", "std"):
            value = np.zeros(0) if statistics is None else getattr(statistics, name)
            self.register_buffer(name, torch.from_numpy(value))

    @property
    def shortest_input(self) -> int:
        """Frames that one output of the front end depends on."""
        return self.model.shortest_input

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """The variable axes of each input, by name; they are its first ones."""
        along = {"features": ("batch", "frames")} if self.features is None else {"samples": ("batch", "samples")}
        return along | dict.fromkeys(("lengths", "speakers")[: 2 if self.policy == "speaker" else 1], ("batch",))

    def inputs(self, frames: Sequence[int], rng: np.random.Generator) -> dict[str, Tensor]:
        """Noise for one recording of each number of frames, with two speakers in turn."""
        lengths, shape = list(frames), [len(frames), max(frames), self.model.config.in_features]
        if self.features is not None:
            lengths = [self.features.frame_length + (count - 1) * self.features.frame_shift for count in frames]
            shape = [len(frames), max(lengths)]
        values = (rng.normal(2.0, 3.0, shape).astype(np.float32), np.array(lengths), np.arange(len(frames)) % 2)
        return {name: torch.from_numpy(value) for name, value in zip(self.axes, values, strict=False)}

    def forward(self, x: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> Tensor:
        """Log-probabilities ``[batch, classes]`` of features ``[batch, frames, features]``, or of samples."""
        lengths = lengths.clamp(1 if self.features is None else self.features.frame_length, x.size(1))
        x = geometry.mask_frames(x, lengths)
        # Some runtimes' operators ignore NaN, and the result would look valid.
        finite = (x.abs() <= torch.finfo(torch.float32).max).flatten(1).all(1, keepdim=True)
        x = torch.where(finite if x.dim() == 2 else finite.unsqueeze(2), x, 0.0)
        features, lengths = (x, lengths) if self.features is None else self.features(x, lengths)
        standardised = self._standardise(features, lengths, finite, speakers)
        log_probabilities: Tensor = self.model(standardised, lengths)
        return torch.where(finite, log_probabilities, torch.nan)

    def probabilities(self, output: Tensor) -> Tensor:
        """The probabilities that an output stands for."""
        return output.exp()

    def _standardise(self, features: Tensor, lengths: Tensor, finite: Tensor, speakers: Tensor | None) -> Tensor:
        x, mean, std = features.double(), self.mean, self.std
        if self.policy != "corpus":
            counts = lengths.view(-1, 1, 1).double()
            if self.policy == "speaker":
                assert speakers is not None
                together = (speakers.unsqueeze(1) == speakers).double() * finite.view(1, -1)
                counts = _over_speakers(together, counts).clamp(min=1)
            else:
                together = None
            mean = _over_speakers(together, x.sum(dim=1, keepdim=True)) / counts
            squares = geometry.mask_frames(x - mean, lengths).square().sum(dim=1, keepdim=True)
            std = (_over_speakers(together, squares) / counts).sqrt()
        constant = std <= CONSTANT * mean.abs()
        return torch.where(constant, 0.0, (x - mean) / torch.where(constant, 1.0, std)).float()


def _over_speakers(together: Tensor | None, sums: Tensor) -> Tensor:
    """Sums ``[batch, 1, n]`` over the rows that are ``together`` ``[batch, batch]``, or of each row by itself."""
    return sums if together is None else (together @ sums.flatten(1)).unsqueeze(1)


class SignalNetwork(nn.Module):
    """The same for one recording, as audonnx gives it: ``[1, samples]`` to probabilities ``[1, classes]``.

    Args:
        network: A network that takes samples, with a policy that needs no speakers.

    Attributes:
        output: Name of the output.
    """

    output = "probabilities"

    def __init__(self, network: OnnxNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def shortest_input(self) -> int:
        """Frames that one output of the front end depends on."""
        return self.network.shortest_input

    @property
    def axes(self) -> dict[str, tuple[str | None, ...]]:
        """The axes of the input: one recording of any length."""
        return {"signal": (None, "samples")}

    def inputs(self, frames: Sequence[int], rng: np.random.Generator) -> dict[str, Tensor]:
        """Noise for the longest of the numbers of frames."""
        return {"signal": self.network.inputs([max(frames)], rng)["samples"]}

    def forward(self, signal: Tensor) -> Tensor:
        """Probabilities of one recording."""
        probabilities: Tensor = self.network(signal, torch.full((1,), signal.size(1))).exp()
        return probabilities

    def probabilities(self, output: Tensor) -> Tensor:
        """The output itself."""
        return output
