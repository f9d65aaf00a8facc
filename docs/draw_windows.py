"""Draw how windows lie on frames: ``python docs/draw_windows.py`` writes ``windows.svg``, and so does ``make docs``."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from convrnn.ops.geometry import num_windows

FRAMES, KERNEL, STRIDE = 9, 5, 2
INK, FRAME, WINDOW = "#87929b", "#aab4bd", "#0b7285"  # seen on white and on black


def main() -> None:
    """Draw the picture; the same numbers give the same file."""
    mpl.rcParams |= {"svg.hashsalt": "windows", "svg.fonttype": "path"}
    figure, axes = plt.subplots(figsize=(6.4, 2.2))
    windows = num_windows(FRAMES, KERNEL, STRIDE)
    for frame in range(FRAMES):
        axes.add_patch(Rectangle((frame + 0.06, 0), 0.88, 0.8, facecolor=FRAME))
        axes.text(frame + 0.5, 0.4, str(frame), ha="center", va="center", color="#1f2933")
    for window in range(windows):
        left, top = window * STRIDE, -0.5 - 0.8 * window
        axes.add_patch(Rectangle((left + 0.06, top - 0.5), KERNEL - 0.12, 0.5, facecolor=WINDOW))
        axes.text(left + KERNEL / 2, top - 0.27, f"window {window}", ha="center", va="center", color="white")
    axes.text(-0.2, 0.4, "frames", ha="right", va="center", color=INK)
    axes.set_xlim(-1.4, FRAMES)
    axes.set_ylim(-0.6 - 0.8 * windows, 0.9)
    axes.axis("off")
    file = Path(__file__).parent / "windows.svg"
    figure.savefig(file, transparent=True, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
