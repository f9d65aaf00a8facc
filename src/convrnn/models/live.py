"""Predictions during a recording."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.base import AudioFeatures
from convrnn.features.extract import features_of
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.samples import full_scale_one
from convrnn.models.bundle import Bundle

MOST_SECONDS = 3600.0
"""Longest part of a recording, in seconds, that one prediction may use."""


class LivePredictor:
    """A model's prediction for the last seconds of an ongoing recording.

    The prediction is always the one for these seconds as a recording of their own: it depends neither on how the
    samples arrive nor on what came before. Features are extracted again for each prediction; with the paper's models
    this takes a few hundredths of a second for 10 s.

    Args:
        bundle: The trained model.
        seconds: Length of the part of the recording to use, at most :data:`MOST_SECONDS`; None uses all of it, which
            takes longer and longer.
        normalise: A normalisation policy instead of the model's own: "utterance" standardises over the seconds used,
            "speaker" over these and ``enrolment``.
        enrolment: Features of other recordings of the speaker, each ``[frames, features]``; only for "speaker".

    Raises:
        InputError: The model takes arrays of frames; ``seconds`` is less than a frame, more than an hour or NaN; there
            is enrolment with a policy other than "speaker"; or the policy is "corpus" and the model has no training
            statistics.

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
        if not isinstance(config, AudioFeatures):
            raise InputError("the model takes arrays of frames from files; it cannot predict from samples")
        if seconds is not None and 1000 * seconds < config.frame_ms:
            raise InputError(f"seconds is {seconds:g}, less than one frame of {config.frame_ms:g} ms")
        if seconds is not None and not seconds <= MOST_SECONDS:
            raise InputError(f"seconds is {seconds:g}; at most {MOST_SECONDS:g} can be used")
        self._bundle, self._features = bundle, config
        self._normaliser = bundle.normaliser(normalise)
        if enrolment and self._normaliser.policy != "speaker":
            raise InputError(
                f"enrolment needs features standardised per speaker, but they are per {self._normaliser.policy}"
            )
        self._enrolment = list(enrolment)
        self._most = None if seconds is None else round(seconds * config.sample_rate)
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._held = 0
        self._pushed = 0

    @property
    def heard(self) -> float:
        """Seconds of the recording so far."""
        return self._pushed / self._features.sample_rate

    def push(self, samples: NDArray[Any]) -> None:
        """Adds the next samples.

        Args:
            samples: ``[samples]``, mono, at the model's sample rate, ``bundle.config.features``. Floating-point ones
                have full scale 1, int16, int32 and uint8 that of their type
                (:func:`~convrnn.features.samples.full_scale_one`).

        Raises:
            ValueError: The samples are not a vector, have another dtype, are not finite or are far beyond full scale;
                in this case nothing is added.
        """
        # A copy: the recorder may reuse its array.
        self._blocks.append(full_scale_one(samples).copy())
        self._held += len(samples)
        self._pushed += len(samples)
        while self._most is not None and self._held - len(self._blocks[0]) >= self._most:
            self._held -= len(self._blocks.popleft())

    def log_probabilities(self) -> NDArray[np.float32] | None:
        """Class log-probabilities ``[classes]`` for the last seconds; None until there is a whole frame."""
        samples = np.concatenate([np.zeros(0, np.float32), *self._blocks])
        if self._most is not None:
            samples = samples[-self._most :]
        config = self._features
        if 1000 * len(samples) < config.frame_ms * config.sample_rate:
            return None
        heard = [*self._enrolment, features_of(samples, config)]
        standardised = self._normaliser.transform(heard, ["speaker"] * len(heard))
        log_probabilities: NDArray[np.float32] = self._bundle.log_probabilities(standardised[-1:])[0]
        return log_probabilities
