"""What blocks save: the edge-gated metanetwork over blocks of weights against the same over a list of edges.

    python benchmarks/metanetwork.py [--quick] [--device cuda:0]

Both compute one function of the same parameters (arXiv:2506.12041), which is checked beforehand: blocks factor messages
and read every edge once in each layer; the list gathers and scatters every message with torch_geometric. Sizes are the
paper's: ResNet-56 with 8 layers of width 64, VGG19 with 8 of 32, ResNet-50 with 6 of 16. "without a compiler" is
blocks in torch operations, what runs where there is no C++ compiler, and on a GPU. Variants take turns; on a CPU one
thread and CPU seconds, on a GPU wall time; medians over rounds; the control row, blocks again, shows the noise of the
machine. Backward starts from fixed random gradients of all outputs. Peak memory is that of a process that does nothing
else; "more" is what it grew by beyond the libraries, the graph and the parameters. Goals: forward and backward at least
8 times as fast, at most half the memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from elastic import cpu_ms, gpu_ms
from torch import Tensor, nn

from nasplat import networks
from nasplat.channels import ParameterGraph, parameter_graph
from nasplat.metanet.edge_gated import EdgeGated
from nasplat.metanet.flat import FlatEdgeGated
from nasplat.metanet.state import GraphState

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A network to read, and the sizes of the metanetwork that reads it."""

    network: str
    classes: int
    pixels: int
    width: int
    layers: int
    grid: int = 3

    def graph(self, device: str) -> ParameterGraph:
        """The parameter graph of the network, at random weights, norms included."""
        torch.manual_seed(0)
        model = getattr(networks, self.network)(classes=self.classes).eval()
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 1:
                nn.init.uniform_(tensor, *((-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.5, 1.5)))
        return parameter_graph(model.to(device), torch.zeros(1, 3, self.pixels, self.pixels, device=device))

    def metanetwork(self, variant: str, device: str) -> nn.Module:
        """A variant; all have the same parameters."""
        torch.manual_seed(0)
        sizes, kind = (self.width, self.layers), {"grid": self.grid, "words": False}
        flat = variant == "list"
        net = FlatEdgeGated(*sizes, **kind) if flat else EdgeGated(*sizes, **kind, **OPTIONS[variant])
        return net.to(device)


OPTIONS: Mapping[str, Mapping[str, bool]] = {
    "blocks": {},
    "control": {},
    "without a compiler": {"compiled": False},
}
VARIANTS = ("list", *OPTIONS)
RESNET56 = Case("resnet56", 10, 32, 64, 8)
GROWTH = (Case("resnet20", 10, 32, 64, 8), RESNET56, Case("vgg19_bn", 100, 32, 32, 8))
RESNET50 = Case("resnet50", 1000, 64, 16, 6, 7)


def outputs(state: GraphState) -> list[Tensor]:
    """All hidden states."""
    return [state.nodes, *(state.edges or ()), *(state.joins or ())]


def forward(net: nn.Module, graph: ParameterGraph) -> Step:
    """A forward pass without gradients."""

    def step() -> list[Tensor]:
        with torch.no_grad():
            return outputs(net(graph))

    return step


def forward_backward(net: nn.Module, graph: ParameterGraph) -> Step:
    """A forward pass, and the gradients of all parameters from fixed ones of all outputs."""
    with torch.no_grad():
        found = outputs(net(graph))
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(t.shape, generator=generator).to(t) / t.numel() for t in found]

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(outputs(net(graph)), list(net.parameters()), grads)

    return step


PASSES: Mapping[str, Callable[[nn.Module, ParameterGraph], Step]] = {
    "forward": forward,
    "forward_backward": forward_backward,
}


def seconds(steps: Sequence[Step], rounds: int, device: str) -> list[float]:
    """The median of each step; they take turns, and who begins changes with each round."""
    clock = gpu_ms if device.startswith("cuda") else cpu_ms
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(-1, rounds):
        for i in range(len(steps)):
            start, which = clock(), (i + turn) % len(steps)
            steps[which]()
            if turn >= 0:  # the first round warms up
                times[which].append((clock() - start) / 1e3)
    return [median(t) for t in times]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference of a tensor's elements, as a share of its largest element."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def peaks(case: Case, variant: str, action: str) -> tuple[float, float]:
    """Peak memory of a process of its own in MB, and by how much the pass raised it."""
    command = [sys.executable, __file__, "--child", json.dumps([case.network, variant, action])]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    peak, more = json.loads(lines[-1])
    return peak, more


def peak_mb() -> float:
    """The peak memory of this process since it began; `getrusage` would count that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def child(network: str, variant: str, action: str) -> None:
    """One pass, and its memory, printed."""
    torch.set_num_threads(1)
    case = {case.network: case for case in (*GROWTH, RESNET50)}[network]
    graph, net = case.graph("cpu"), case.metanetwork(variant, "cpu")
    before = peak_mb()
    if action == "forward":
        forward(net, graph)()
    else:
        state = outputs(net(graph))
        torch.autograd.grad(state, list(net.parameters()), [torch.ones_like(t) for t in state])
    print(json.dumps([peak_mb(), peak_mb() - before]))


def equal(case: Case, device: str) -> dict[str, float]:
    """How far blocks are from the list, in outputs and in gradients of parameters; printed."""
    graph, figures = case.graph(device), dict[str, float]()
    for action, name in (("forward", "output"), ("forward_backward", "gradient")):
        expected = PASSES[action](case.metanetwork("list", device), graph)()
        for variant in ("blocks", "without a compiler"):
            found = PASSES[action](case.metanetwork(variant, device), graph)()
            share = difference(found, expected)  # type: ignore[arg-type]
            print(f"  {variant}: largest difference of {name}s {share:.1e}")
            key = f"{name}_difference" + ("" if variant == "blocks" else "_without_a_compiler")
            figures[key] = share
    return figures


def compare(case: Case, rounds: int, device: str) -> dict[str, float]:
    """Seconds of every variant, printed; how many times as fast as the list they are."""
    graph, figures = case.graph(device), dict[str, float]()
    nets = [case.metanetwork(variant, device) for variant in VARIANTS]
    print(f"  {'':<20}{'forward s':>12}{'':>8}{'and backward s':>16}{'':>8}")
    times = [seconds([make(net, graph) for net in nets], rounds, device) for make in PASSES.values()]
    for variant, *row in zip(VARIANTS, *times, strict=True):
        gains = [reference[0] / mine for reference, mine in zip(times, row, strict=True)]
        print(f"  {variant:<20}{row[0]:>12.3f}{gains[0]:>7.1f}x{row[1]:>16.3f}{gains[1]:>7.1f}x")
        end = "" if variant == "blocks" else f"_{variant.replace(' ', '_')}"
        if variant != "list":
            figures |= {f"{action}_speedup{end}": gain for action, gain in zip(PASSES, gains, strict=True)}
    figures["forward_seconds"], figures["forward_backward_seconds"] = times[0][1], times[1][1]
    return figures


def memory(case: Case) -> dict[str, float]:
    """Peak memory of both on the CPU, printed; the share that blocks need."""
    figures = dict[str, float]()
    for action in PASSES:
        (flat, flat_more), (blocks, blocks_more) = (peaks(case, v, action) for v in ("list", "blocks"))
        print(
            f"  {action} peak MB: list {flat:.0f} (more {flat_more:.0f}), blocks {blocks:.0f} (more "
            f"{blocks_more:.0f}): {blocks / flat:.2f} ({blocks_more / flat_more:.3f})"
        )
        figures |= {f"{action}_memory": blocks / flat, f"{action}_memory_more": blocks_more / flat_more}
    return figures


def growth(cases: Sequence[Case], rounds: int, device: str) -> Iterator[tuple[str, float]]:
    """Seconds of blocks by the size of the network, printed."""
    print(
        f"  {'':<12}{'nodes':>8}{'edges':>12}{'width':>7}{'forward s':>11}{'and backward s':>16}{'peak MB':>9}"
    )
    for case in cases:
        graph, net = case.graph(device), case.metanetwork("blocks", device)
        actions = ["forward"] if case is RESNET50 else list(PASSES)
        times = [seconds([PASSES[action](net, graph)], rounds, device)[0] for action in actions]
        del net
        peak = peaks(case, "blocks", actions[-1])[0]
        row = "".join(f"{t:>{w}.3f}" for t, w in zip(times, (11, 16), strict=False))
        form = graph.structure
        print(f"  {case.network:<12}{form.nodes:>8,}{form.edges:>12,}{case.width:>7}{row:<27}{peak:>9.0f}")
        yield (
            f"{case.network}_ns_per_edge_and_channel",
            times[-1] / form.edges / case.width / case.layers * 1e9,
        )


def main() -> None:
    """Print the tables and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes on 2 cores")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    torch.set_num_threads(1)
    rounds = 3 if given.quick else 15
    print(
        f"ResNet-56, {RESNET56.layers} layers of width {RESNET56.width}, medians of {rounds} rounds, {given.device}"
    )
    figures = equal(RESNET56, given.device) | compare(RESNET56, rounds, given.device) | memory(RESNET56)
    print("growth, blocks; width and layers as in the paper")
    cases = GROWTH[:2] if given.quick else (*GROWTH, RESNET50)
    figures |= dict(growth(cases, min(rounds, 5), given.device))
    print(json.dumps({"figures": {name: float(f"{value:.3g}") for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
