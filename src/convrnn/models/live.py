"""Predictions while a recording is still going on."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.extract import features_of
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.samples import full_scale_one
from convrnn.models.bundle import Bundle

MOST_SECONDS = 3600.0
"""How much of a recording may be looked at each time."""


class LivePredictor:
    """What a model says of the last seconds of a recording that is still going on.

    At any time it is what the model says of these seconds as a recording of their own: how the samples came in does not
    matter, nor what was before. Features are extracted anew each time; the paper's models take some hundredths of a
    second for 10 s.

    Args:
        bundle: The trained model.
        seconds: How much of the recording to look at, at most :data:`MOST_SECONDS`; None is all from its beginning,
            which takes ever longer.
        normalise: Another policy than the bundle's. "utterance" are the seconds that are looked at, "speaker" these and
            ``enrolment``.
        enrolment: Features of other recordings of the speaker, each ``[frames, features]``; only for "speaker".

    Raises:
        InputError: if ``seconds`` is less than a frame, more than an hour or not a number, there is enrolment with a
            policy that does not look at it, or the policy is "corpus" and the bundle has no training statistics.

    Example:
        >>> def listen(bundle: Bundle, blocks: list[NDArray[np.float32]]) -> None:
        ...     live = LivePredictor(bundle, seconds=10)
        ...     for block in blocks:
        ...         live.push(block)
        ...         if (log_probabilities := live.log_probabilities()) is not None:
        ...             print(live.heard, bundle.config.classes[log_probabilities.argmax()])
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        seconds: float | None = None,
        normalise: NormalisePolicy | None = None,
        enrolment: Sequence[NDArray[np.float32]] = (),
    ) -> None:
        config = bundle.config.features
        if seconds is not None and 1000 * seconds < config.frame_ms:
            raise InputError(f"seconds is {seconds:g}, less than one frame of {config.frame_ms:g} ms")
        if seconds is not None and not seconds <= MOST_SECONDS:
            raise InputError(f"seconds is {seconds:g}; at most {MOST_SECONDS:g} can be looked at each time")
        self._bundle = bundle
        self._normaliser = bundle.normaliser(normalise)
        if enrolment and self._normaliser.policy != "speaker":
            raise InputError(
                f"enrolment is for features standardised per speaker, but they are per {self._normaliser.policy}"
            )
        self._enrolment = list(enrolment)
        self._most = None if seconds is None else round(seconds * config.sample_rate)
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._held = 0
        self._pushed = 0

    @property
    def heard(self) -> float:
        """Seconds of the recording so far."""
        return self._pushed / self._bundle.config.features.sample_rate

    def push(self, samples: NDArray[Any]) -> None:
        """Take in the next samples.

        Args:
            samples: ``[samples]``, mono, at the model's sample rate, ``bundle.config.features``. Floating-point ones
                have full scale 1, int16, int32 and uint8 that of their type
                (:func:`~convrnn.features.samples.full_scale_one`).

        Raises:
            ValueError: if they are not a vector, of another dtype, not finite or far beyond full scale; nothing is
                taken in then.
        """
        # A copy: whoever records may fill the same array again.
        self._blocks.append(full_scale_one(samples).copy())
        self._held += len(samples)
        self._pushed += len(samples)
        while self._most is not None and self._held - len(self._blocks[0]) >= self._most:
            self._held -= len(self._blocks.popleft())

    def log_probabilities(self) -> NDArray[np.float32] | None:
        """Class log-probabilities ``[classes]`` of the last seconds; None before there is a whole frame."""
        samples = np.concatenate([np.zeros(0, np.float32), *self._blocks])
        if self._most is not None:
            samples = samples[-self._most :]
        config = self._bundle.config.features
        if 1000 * len(samples) < config.frame_ms * config.sample_rate:
            return None
        heard = [*self._enrolment, features_of(samples, config)]
        standardised = self._normaliser.transform(heard, ["speaker"] * len(heard))
        log_probabilities: NDArray[np.float32] = self._bundle.log_probabilities(standardised[-1:])[0]
        return log_probabilities
