"""A training step and a validation step, on the run's device and in its precision."""

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import SequenceClassifierConfig
from convrnn.training.config import Device, Precision, TrainingConfig
from convrnn.training.data import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Learner:
    """A model and its optimiser: cross-entropy of the averaged prediction, minimised with Adam (section IV-A).

    As in the paper, all parameters are "optimized simultaneously". The initial weights depend on the seed alone.

    Args:
        model: The description of the model.
        training: The parameters of Adam, and gradient clipping.
        seed: Varies the initial weights.
        device: kind of device.
        precision: "bf16-mixed" for automatic mixed precision; "tf32" is up to the environment.
        index: number of the GPU; by default the first.
        devices: number of devices that train together. With more than one, this process is one of as many
            (:func:`~convrnn.training.ranks.on_every_rank`), and gradients are averaged over them.

    Attributes:
        fabric: Lightning Fabric, which knows the device and the other processes.
        devices: As above.
        model: The classifier, on the device; it returns log-probabilities, so that the cross-entropy is their negative
            log-likelihood.
        num_classes: Number of classes.
        optimizer: Adam over all its parameters.
    """

    def __init__(
        self,
        model: SequenceClassifierConfig,
        training: TrainingConfig,
        *,
        seed: int,
        device: Device = "cpu",
        precision: Precision = "32",
        index: int | None = None,
        devices: int = 1,
    ) -> None:
        self.devices = devices
        self.fabric = _fabric(device, index, devices)
        self._mixed = precision == "bf16-mixed"
        self._max_norm = training.gradient_clip_norm
        torch.manual_seed(seed)
        self.model = self.fabric.to_device(SequenceClassifier(model))
        self._compute: Callable[..., Tensor] = self.model if devices == 1 else self.fabric.setup_module(self.model)
        self.num_classes = model.num_classes
        on_gpu = device == "cuda"
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=training.lr,
            betas=training.betas,
            eps=training.eps,
            **({"fused": True, "capturable": True} if on_gpu else {}),
        )
        if on_gpu:
            self._create_state()

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.fabric.device

    def _create_state(self) -> None:
        """Creates Adam's state, which otherwise its first step does, as in a recorded step it must not."""
        (group,) = self.optimizer.param_groups
        rate, group["lr"] = group["lr"], 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self.optimizer.step()  # changes nothing but the number of steps
        for state in self.optimizer.state.values():
            state["step"].zero_()
        group["lr"] = rate
        self.optimizer.zero_grad()

    def train_step(self, batch: Batch, of: int | None = None) -> tuple[Tensor, Tensor]:
        """One step of Adam on a batch.

        Args:
            batch: Padded utterances, on any device.
            of: Number of examples in the whole batch, if this is the share of one of several devices.

        Returns:
            The mean loss of the batch, a scalar, and its log-probabilities, float32 [batch, classes]; both are from
            before the step, and detached. Of a share, the loss is such that the mean over the devices is that of the
            whole batch.
        """
        loss, log_probabilities = self._differentiate(batch, of)
        if self._max_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self._max_norm, error_if_nonfinite=False)
        self.optimizer.step()
        return loss.detach(), log_probabilities.detach()

    def rehearse(self, batch: Batch) -> None:
        """Computes the gradients of a training step, and drops them."""
        self._differentiate(batch)
        self.optimizer.zero_grad()

    def _differentiate(self, batch: Batch, of: int | None = None) -> tuple[Tensor, Tensor]:
        self.model.train()
        loss, log_probabilities = self._forward(batch, of)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        return loss, log_probabilities

    @torch.inference_mode()
    def validation_step(self, batch: Batch, of: int | None = None) -> tuple[Tensor, Tensor]:
        """Returns what :meth:`train_step` returns, and changes nothing."""
        self.model.eval()
        return self._forward(batch, of)

    def _forward(self, batch: Batch, of: int | None) -> tuple[Tensor, Tensor]:
        x, lengths, labels = self.fabric.to_device(batch)
        # Not Fabric's autocast: it caches weights in bfloat16 for a whole step, and the gradients of a weight that is
        # used several times are then summed in bfloat16. Without the cache they are summed in float32.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False):
            log_probabilities = self._compute(x, lengths).float()
            if of is None:
                return F.nll_loss(log_probabilities, labels), log_probabilities
            return F.nll_loss(log_probabilities, labels, reduction="sum") * (self.devices / of), log_probabilities

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's ``state_dict`` on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Sets the weights to what :meth:`weights` returned.

        Raises:
            Exception: Of any kind, if they do not fit this model.
        """
        self.model.load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """The state dicts of the model and the optimiser, under "model" and "optimizer"."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Sets model and optimiser to what :meth:`state_dict` returned; other keys are ignored.

        Raises:
            Exception: Of any kind, if the state does not fit this model.
        """
        self.load_weights(state["model"])
        saved, (own,) = state["optimizer"], self.optimizer.param_groups
        # How Adam is computed is up to the device, not to the version that wrote the state.
        computed = {name: own[name] for name in ("fused", "capturable")}
        groups = [group | computed for group in saved["param_groups"]]
        self.optimizer.load_state_dict(saved | {"param_groups": groups})


def _fabric(device: Device, index: int | None, devices: int) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    # Fabric prefers these variables, set by its own launcher, to its arguments; they would change the result.
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LT_")}
    try:
        fabric = Fabric(
            accelerator=device,
            devices=devices if index is None else [index],
            strategy="auto" if devices == 1 else "ddp",
            precision="32-true",
            # Only our processes, even inside a SLURM or torchrun job, which Fabric would otherwise join.
            plugins=[LightningEnvironment()],
        )
        if devices > 1:
            fabric.launch()  # connects the processes
        return fabric
    finally:
        os.environ.update(hidden)
