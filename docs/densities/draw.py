"""Sample a trained ring and score it: ``python draw.py MODEL [OUT.png]``."""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from densities import DataConfig

from scoregen.core import DenseSpace, Noise, karras_grid, sample
from scoregen.core.likelihood import log_prob
from scoregen.core.solvers import solver_by_name
from scoregen.hub import from_pretrained


def main(folder: str, picture: str = "ring.png", count: int = 2000) -> None:
    """Draw ``count`` points, write a picture, print the log-likelihood of fresh data beside the true one."""
    model = from_pretrained(folder)
    space = DenseSpace((count, 2))
    denoiser, sde = model.denoiser, model.denoiser.sde

    def denoise(x: torch.Tensor, t: torch.Tensor):
        return denoiser(x, t, DenseSpace(x.shape))

    noise = Noise(0, torch.arange(count))
    grid = karras_grid(sde, 20)
    points = sample(denoise, sde, space, solver=solver_by_name("dpmpp-2m"), grid=grid, noise=noise)

    density = model.info["density"]
    truth = DataConfig(**density).mixture()
    torch.manual_seed(0)
    data = truth.sample((500,))
    found = log_prob(denoise, sde, data, DenseSpace((500, 2)), exact=True)
    print(f"log-likelihood of 500 fresh points, model:  {found.mean():.3f} nats")
    print(f"log-likelihood of 500 fresh points, truth:  {truth.log_prob(data).mean():.3f} nats")
    print(f"true log-density of {count} samples, mean: {truth.log_prob(points).mean():.3f} nats")

    plt.figure(figsize=(4, 4))
    plt.scatter(*points.T, s=2)
    plt.gca().set_aspect("equal")
    plt.tight_layout()
    plt.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
