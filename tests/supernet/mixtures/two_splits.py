"""What test_split runs in two processes: `RANK=r WORLD_SIZE=2 ... python two_splits.py FOLDER` for r = 0 and 1.

Each process splits by draws of its own, so that only an agreement makes them alike, and writes weights and tree.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from nasplat.data import Dataset, Split
from nasplat.elastic import ElasticLinear, ElasticSpace
from nasplat.space import Arch, categorical
from nasplat.supernet import UniformTraining, init_world, save_weights, train
from nasplat.supernet.mixtures import FewShot, Setting


class Net(nn.Module):
    """x (n, 4) -> (n, 3), of six architectures that scale what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = ElasticLinear(4, 3)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        out: Tensor = self.layer(float(arch["a"]) * float(arch["b"]) * x, arch)
        return out


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    world, rng = init_world(), torch.Generator().manual_seed(0)
    split = Split(torch.randn(24, 4, generator=rng), torch.randint(0, 3, (24,), generator=rng))
    data = Dataset("two", split, split, split, classes=3)
    choices = [categorical("a", (1.0, -1.0, 2.0)), categorical("b", (1.0, 0.5))]
    space, mixture = ElasticSpace("two", choices, network=Net), FewShot(by="random", start="restart_last")
    method = UniformTraining(epochs=4, batch_size=8)
    net = space.shared(mixture.apply).supernet()
    schedule = method.schedule(space, data, 0)
    own_draws = Setting(net, space, data, method, seed=world.rank)
    train(net, data, mixture.schedule(schedule, own_draws), method)
    save_weights(net, folder / f"{world.rank}.safetensors")
    world.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
