"""Draw parameters against the length of the window: ``python docs/draw_waveform_parameters.py``.

It writes ``results/waveform-parameters.png`` and prints the table of the page on the raw waveform.
"""

from pathlib import Path

from matplotlib import pyplot as plt
from torch import nn

from convrnn.features.waveform import WaveformConfig
from convrnn.nn import CBLSTM, CLSTM, ConvFeatures, ExtendedCLSTM

MILLISECONDS = (10, 25, 50, 100)
SAMPLES = WaveformConfig(sample_rate=16000)
FRAMES_OF_1_MS = WaveformConfig(sample_rate=16000, frame="millisecond")
LAYERS: dict[str, tuple[type[nn.Module], WaveformConfig]] = {
    "convolution": (ConvFeatures, SAMPLES),
    "CLSTM, samples": (CLSTM, SAMPLES),
    "CLSTM, frames of 1 ms": (CLSTM, FRAMES_OF_1_MS),
    "CBLSTM, samples": (CBLSTM, SAMPLES),
    "Extended CLSTM, frames of 1 ms": (ExtendedCLSTM, FRAMES_OF_1_MS),
}


def parameters(layer: type[nn.Module], features: WaveformConfig, milliseconds: float) -> int:
    """Parameters of the layer of 100 features that :func:`convrnn.models.preset` puts on the waveform."""
    options = {} if layer is ConvFeatures else {"learn_initial_state": True}
    module = layer(features.num_features, 100, *features.window(milliseconds), **options)
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    """Draw the picture and print the table."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    print("| layer |", " | ".join(f"{ms} ms" for ms in MILLISECONDS), "|")
    print("|---|" + "---:|" * len(MILLISECONDS))
    for name, (layer, features) in LAYERS.items():
        counts = [parameters(layer, features, ms) for ms in MILLISECONDS]
        print(f"| {name} |", " | ".join(f"{count:,}" for count in counts), "|")
        axes.plot(MILLISECONDS, [count / 1000 for count in counts], marker="o", label=name)
    axes.set_xlabel("window length [ms] at 16 kHz")
    axes.set_ylabel("parameters of the layer [thousands]")
    axes.set_xticks(MILLISECONDS)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(Path(__file__).parent / "results" / "waveform-parameters.png", dpi=150)


if __name__ == "__main__":
    main()
