"""What each way of sharing weights costs: steps and parameters of a supernet against plain slicing.

    python benchmarks/mixtures.py [--quick]

A step is forward, loss and backward of the largest, the smallest and two random architectures, with zero_grad, without
the optimiser; fp32, one thread. Ways of sharing take turns step by step and are compared by their medians of CPU time;
the control row, a second supernet that slices, shows the noise of the machine. "with feedback" adds what a balanced
mixture does in training, a pass over as many validation examples for each architecture. Parameters, bytes to train by
SGD with momentum, and multiply-adds of merging are counted. Merging costs parameters, not pixels: the same mixture
weighs less on larger images or batches, which the rows of the larger batch show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from elastic import Step, cpu_ms, elastic_step, interleaved
from torch import Tensor, nn

from nasplat.data import random_inputs
from nasplat.elastic import ElasticSpace
from nasplat.plugins import load
from nasplat.space import Arch
from nasplat.supernet import Sandwich, Settings
from nasplat.supernet.execution import make_execution
from nasplat.supernet.mixtures import make_mixture
from nasplat.supernet.mixtures.cost import sharing_cost
from nasplat.supernet.recipe import Recipe

SCHEMES: dict[str, Mapping[str, Any]] = {
    "slice": {"kind": "slice"},
    "control": {"kind": "slice"},
    "tied": {"kind": "tied"},
    "templates": {"kind": "templates"},
    "dealt, 4": {"kind": "dealt", "experts": 4},
    "balanced, 4": {"kind": "balanced", "experts": 4},
    "balanced, 4, with feedback": {"kind": "balanced", "experts": 4},
    "split, 4": {"kind": "split", "splits": 2},
    "constant, 2": {"kind": "moe", "router": "constant"},
    "MoS layer, 2": {"kind": "moe"},
    "MoS neuron, 2": {"kind": "moe", "per": "neuron"},
    "MoS neuron, 4": {"kind": "moe", "per": "neuron", "experts": 4},
    "hyper, 4": {"kind": "hyper", "magnitude_invariant": False},
    "hyper invariant, 4": {"kind": "hyper"},
}
"""Ways of sharing by the names in the table."""

FEEDBACK = "with feedback"


@dataclass(frozen=True, slots=True)
class Case:
    """A space, and how many examples a step has."""

    name: str
    space: ElasticSpace
    batch: int

    @property
    def archs(self) -> list[Arch]:
        """The architectures of a step."""
        return Sandwich(self.space).ask(0, lambda arch: torch.zeros(()))  # type: ignore[arg-type]

    def examples(self) -> tuple[Tensor, Tensor]:
        """Random inputs, and targets: classes, or for a language model the next tokens."""
        shape, vocabulary = self.space.input_shape or (), self.space.vocabulary
        x = random_inputs(self.batch, shape, vocabulary)
        return x, x if vocabulary else torch.randint(10, (self.batch,))


def cases() -> list[Case]:
    """A convolutional network and a language model, each with a small and a large batch."""
    conv = load("spaces", "elastic_convnet")(
        input_shape=(3, 16, 16), classes=10, stages=2, depth=[1, 2], width=[16, 24, 32], kernel=[3]
    )
    lm = load("spaces", "elastic_lm")(
        input_shape=(64,), classes=96, depth=[2, 3], width=[32, 48, 64], heads=[2, 4], ffn=[64, 128]
    )
    return [Case(name, space, batch) for name, space in {"conv": conv, "lm": lm}.items() for batch in (8, 64)]


def step_of(case: Case, name: str) -> Step:
    """A step of the supernet that shares so."""
    net = case.space.shared(make_mixture(SCHEMES[name]).apply).supernet()
    batch, archs = case.examples(), case.archs
    execution = make_execution(net, case.space, Settings(), torch.device("cpu"))
    step = elastic_step(net, execution, archs, batch)
    if FEEDBACK not in name:
        return step

    def with_feedback() -> None:
        step()
        look(net, batch[0], archs)

    return with_feedback


@torch.no_grad()
def look(net: nn.Module, inputs: Tensor, archs: Sequence[Arch]) -> None:
    """A pass of each architecture without gradients."""
    for arch in archs:
        net(inputs, arch)


def measure(case: Case, rounds: int) -> dict[str, float]:
    """The table of a case, printed; the ratios of its step times."""
    times = interleaved([step_of(case, name) for name in SCHEMES], rounds, cpu_ms)
    print(f"{case.name}, batch {case.batch}")
    print(
        f"  {'':<28}{'ms':>8}{'ratio':>8}{'parameters':>12}{'ratio':>8}{'MiB to train':>14}{'merge MMAC':>12}"
    )
    for (name, table), ms in zip(SCHEMES.items(), times, strict=True):
        cost = sharing_cost(case.space, make_mixture(table), Recipe())
        print(
            f"  {name:<28}{ms:>8.1f}{ms / times[0]:>8.3f}{cost.parameters:>12,}{cost.ratio:>8.2f}"
            f"{cost.training_bytes / 2**20:>14.2f}{cost.merge_macs / 1e6:>12.2f}"
        )
    return {
        key(case, name): ms / times[0] for name, ms in zip(SCHEMES, times, strict=True) if name != "slice"
    }


def key(case: Case, name: str) -> str:
    """The name of a figure: "conv_8_mos_layer_2_over_slice"."""
    return f"{case.name}_{case.batch}_{name.lower().replace(',', '').replace(' ', '_')}_over_slice"


def main() -> None:
    """Print the tables and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes on 2 cores")
    rounds = 5 if parser.parse_args().quick else 60
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"steps of four architectures, {rounds} rounds, 1 thread, median CPU time, ratios to plain slicing")
    figures = {name: ratio for case in cases() for name, ratio in measure(case, rounds).items()}
    print(json.dumps({"figures": {name: round(ratio, 3) for name, ratio in figures.items()}}))


if __name__ == "__main__":
    main()
