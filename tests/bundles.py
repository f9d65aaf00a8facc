"""Small saved models, and features for them."""

import numpy as np
import torch

from convrnn.features.logmel import LogMelConfig
from convrnn.models import Bundle, BundleConfig, SequenceClassifier, preset


def make_bundle(**changes):
    torch.manual_seed(0)
    features = LogMelConfig(sample_rate=16000)
    model = preset("clstm", "paralinguistic", in_features=26, num_classes=3)
    # The preset's structure, small enough to be saved in no time.
    content = model.model_dump()
    content["front_end"][0]["features"]["out_features"] = 4
    content["recurrent"]["hidden_size"] = 5
    content["dense_features"] = 6
    config = {
        "corpus": "csv:speech.csv",
        "task": "gender",
        "classes": ("child", "female", "male"),
        "name": "clstm",
        "setting": "paralinguistic",
        "model": content,
        "features": features,
        "normalise": "speaker",
    }
    config = BundleConfig.model_validate(config | changes)
    return Bundle(config, SequenceClassifier(config.model))


def utterances(*frames):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, 26)).astype(np.float32) for n in frames]


STATISTICS = {"mean": tuple(float(i) for i in range(26)), "std": (2.0,) * 26}
