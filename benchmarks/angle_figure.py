"""The figure of docs/angle.md: slopes of cosine and phase difference as two vectors turn apart.

    python -m benchmarks.angle_figure docs/angle.png

After figure 1 of Li & Li 2023. Two dimensions: one complex number, turned by an angle against another.
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch

from plait.training.objectives.angle import phase_difference


def main() -> None:
    """Draw the figure."""
    turn = torch.linspace(1e-3, torch.pi - 1e-3, 400, requires_grad=True)
    z = torch.stack([turn.cos(), turn.sin()], 1)
    w = torch.tensor([[1.0, 0.0]]).expand_as(z)
    values = {"cosine": (z * w).sum(1), "phase difference": phase_difference(z, w)}
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(6, 5), sharex=True, layout="constrained")
    for name, value in values.items():
        (slope,) = torch.autograd.grad(value.sum(), turn, retain_graph=True)
        degrees = turn.detach().rad2deg()
        top.plot(degrees, value.detach(), label=name)
        bottom.plot(degrees, slope.abs(), label=name)
        print(f"{name:<17} slope at 1°: {slope[abs(degrees - 1).argmin()].abs():.3f}, at 90°: {slope[200].abs():.3f}")
    top.set_ylabel("value")
    bottom.set_ylabel("size of the slope")
    bottom.set_xlabel("angle between two vectors, degrees")
    top.legend(frameon=False)
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(sys.argv[1], dpi=130)


if __name__ == "__main__":
    main()
