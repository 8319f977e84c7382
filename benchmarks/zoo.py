"""What a zoo costs: networks trained together in stacks against the same networks trained one by one.

    python benchmarks/zoo.py [--quick]

A step is a batch of 32 digits, forward, loss, backward and AdamW, in fp32 on one thread. Variants take turns and are
compared by their median CPU time for each network and step; the control, a second copy of the first variant, shows the
noise of the machine. First the digits CNN of 2,394 parameters by size of the stack, by the layout of images in memory,
and with convolutions as unfold and one batched product; then every family of the zoo. That all
variants have equal losses is checked beforehand.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from nasplat.data import load_data, take
from nasplat.zoo import FAMILIES, Classifiers, Form
from nasplat.zoo.optimisers import AdamW
from nasplat.zoo.stack import Stack, stack_modules
from nasplat.zoo.training import Lessons, train_stack

Step = Callable[[], object]
BATCH, CHOSEN = 32, Classifiers(1).group_size
CNN = Form("plain", (1, 8, 8), 10, 8, 3, "relu")
MEAN_STEPS = 156  # of a network of the default zoo: log-uniform between 40 and 400


class Unfolded(TorchFunctionMode):
    """Convolutions as a matrix of patches and one product, which vmap makes a batched one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Another form of conv2d; everything else as it is."""
        if func is not torch.conv2d:
            return func(*args, **(kwargs or {}))
        x, weight, bias, stride, padding, dilation, groups = args
        o, i, *kernel = weight.shape
        n, _, height, width = x.shape
        patches = F.unfold(x, kernel, dilation, padding, stride)  # (n, c * k, places)
        patches = patches.transpose(0, 1).reshape(groups, i * kernel[0] * kernel[1], -1)
        y = (weight.reshape(groups, o // groups, -1) @ patches).reshape(o, n, -1).transpose(0, 1)
        y = y if bias is None else y + bias[:, None]
        return y.unflatten(2, (-(-height // stride[0]), -(-width // stride[1])))  # as padding keeps the size


class Digits:
    """Batches of digits, the same for every variant."""

    def __init__(self) -> None:
        self.split = load_data("digits").train

    def batch(self, m: int) -> tuple[Tensor, Tensor]:
        """Images (m, b, 1, 8, 8) and labels (m, b)."""
        source = torch.Generator().manual_seed(0)
        which = torch.stack([torch.randperm(len(self.split), generator=source)[:BATCH] for _ in range(m)])
        return take(self.split, which)


def networks(form: Form, m: int) -> list[nn.Module]:
    """Fresh networks of a form, the same at every call."""
    torch.manual_seed(0)
    return [form.make() for _ in range(m)]


def alone(form: Form, digits: Digits) -> Step:
    """One network by PyTorch's own loop."""
    (module,), (inputs, labels) = networks(form, 1), digits.batch(1)
    optimiser = torch.optim.AdamW(module.parameters(), 1e-3)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(module(inputs[0]), labels[0]).backward()
        optimiser.step()

    return step


def together(form: Form, digits: Digits, m: int) -> Step:
    """A stack as the zoo trains it."""
    stack, batch = stack_modules(networks(form, m)), digits.batch(m)
    optimiser = AdamW(torch.full((m, 1), 1e-3), torch.full((m, 1), 1e-2))
    lessons = Lessons(lambda step, k: batch, F.cross_entropy, [1] * m)
    return lambda: train_stack(stack, lessons, optimiser)


def otherwise(form: Form, digits: Digits, m: int, unfolded: bool) -> Step:
    """A stack whose images lie in memory as usual, with grouped or unfolded convolutions."""
    stack, (inputs, labels) = stack_modules(networks(form, m)), digits.batch(m)
    optimiser = AdamW(torch.full((m, 1), 1e-3), torch.full((m, 1), 1e-2))
    stack.skeleton.train()

    def step() -> None:
        rows = stack.rows.detach().requires_grad_()
        if unfolded:
            with Unfolded():
                losses = losses_of(stack, rows, inputs, labels)
        else:
            losses = losses_of(stack, rows, inputs, labels)
        optimiser.step(stack.rows, torch.autograd.grad(losses.sum(), rows)[0], 0)

    return step


def losses_of(stack: Stack, rows: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss (m,) of each network, by vmap and nothing else."""

    def one(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(stack.skeleton, parameters, (x,)), y)

    losses: Tensor = vmap(one)(stack.tensors(rows), inputs, labels)
    return losses


def check(digits: Digits) -> None:
    """Stop unless stacks, unfolded or not, have the losses of their networks."""
    modules, (inputs, labels) = networks(CNN, 3), digits.batch(3)
    paired = zip(modules, inputs, labels, strict=True)
    expected = torch.stack([F.cross_entropy(module(x), y) for module, x, y in paired])
    stack = stack_modules(modules)
    with Unfolded():
        unfolded = losses_of(stack, stack.rows, inputs, labels)
    ours = vmap(F.cross_entropy)(stack(inputs), labels)
    for found in (unfolded, ours):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def per_network(variants: Mapping[str, tuple[Step, int]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of a step for each network; variants take turns, and who begins changes."""
    names = list(variants)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(-2, rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            step, m = variants[name]
            start = time.process_time_ns()
            for _ in range(max(1, 16 // m)):  # small ones often enough for the clock
                step()
            if turn >= 0:  # the first rounds warm up
                times[name].append((time.process_time_ns() - start) / 1e6 / max(m, 16))
    return {name: median(found) for name, found in times.items()}


def report(title: str, found: Mapping[str, float], base: str) -> None:
    """A row for each variant."""
    print(f"{title}\n  {'':<28}{'ms a step':>10}{'networks/s':>12}{'speed-up':>10}")
    for name, ms in found.items():
        print(f"  {name:<28}{ms:>10.3f}{1e3 / ms / MEAN_STEPS:>12.2f}{found[base] / ms:>10.2f}")


def main() -> None:
    """Print the tables and the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under two minutes on 2 cores")
    rounds = 5 if parser.parse_args().quick else 20
    torch.set_num_threads(1)
    digits = Digits()
    check(digits)
    variants = {"alone": (alone(CNN, digits), 1), "alone, again (control)": (alone(CNN, digits), 1)}
    for m in (4, 16, CHOSEN, 128):
        variants[f"together, {m}"] = (together(CNN, digits, m), m)
    for name, unfolded in {"usual layout": False, "unfold and product": True}.items():
        variants[f"{name}, {CHOSEN}"] = (otherwise(CNN, digits, CHOSEN, unfolded), CHOSEN)
    found = per_network(variants, rounds)
    report(f"digits CNN, {rounds} rounds; networks/s at {MEAN_STEPS} steps each", found, "alone")
    ours = found[f"together, {CHOSEN}"]
    figures = {
        "together_over_alone_speedup": found["alone"] / ours,
        "control": found["alone, again (control)"] / found["alone"],
        "networks_per_second": 1e3 / ours / MEAN_STEPS,
        "usual_layout_over_ours": found[f"usual layout, {CHOSEN}"] / ours,
        "unfold_over_ours": found[f"unfold and product, {CHOSEN}"] / ours,
    }
    for name, family in FAMILIES.items():
        form = Form(name, (1, 8, 8), 10, family.widths[0], family.depths[-1], "gelu")
        pair = {"alone": (alone(form, digits), 1), "together": (together(form, digits, CHOSEN), CHOSEN)}
        found = per_network(pair, max(3, rounds // 3))
        report(f"{name}, {family.widths[0]} wide, {family.depths[-1]} deep", found, "alone")
        figures[f"{name}_speedup"] = found["alone"] / found["together"]
    print(json.dumps({"figures": {key: round(value, 3) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
