"""From a model to a pruned model: plans found by bisection against steps that count again, side by side.

    python benchmarks/pruning.py [--quick]

ResNet-56 (CIFAR) to a third of its multiply-adds and VGG19 to a ninth, random weights, group L2, all groups ranked
together, the classifier left out. "nasplat" traces, tries what may be cut, scores, finds the widths and cuts. The peer
is torch-pruning (the version in the table), as its README has it: GroupNormPruner with 200 scheduled steps, the model
counted after each until the target is met. "schedule known" is the same peer told beforehand which step will meet it,
which removes all counting: not how it is used, but the unfavourable row for us. The control is nasplat again. Variants
take turns, CPU seconds of one thread, medians over rounds, first calls not counted. Goal: at least 10 times less.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nasplat import count_macs, networks, plan_pruning

STEPS = 200


@dataclass(frozen=True, slots=True)
class Case:
    """A network by name, with so many classes, and by how much its multiply-adds are to shrink."""

    network: str
    classes: int
    speedup: float

    def model(self) -> nn.Module:
        """At random weights."""
        torch.manual_seed(0)
        model: nn.Module = getattr(networks, self.network)(classes=self.classes)
        return model.eval()


CASES = (Case("resnet56", 10, 3.0), Case("vgg19_bn", 100, 9.0))
Run = Callable[[nn.Module, Case, Tensor], tuple[nn.Module, int]]
"""model, case, example -> the pruned model, and how often its size was looked at."""


def ours(model: nn.Module, case: Case, example: Tensor) -> tuple[nn.Module, int]:
    """A plan, applied."""
    plan = plan_pruning(model, example, "l2", speedup=case.speedup)
    return plan.apply(model), 1


def peer(model: nn.Module, case: Case, example: Tensor) -> tuple[nn.Module, int]:
    """Steps of torch-pruning, counted after each."""
    import torch_pruning

    pruner = _pruner(model, example)
    before, _ = torch_pruning.utils.count_ops_and_params(model, example)
    for step in range(1, STEPS + 1):
        pruner.step()
        after, _ = torch_pruning.utils.count_ops_and_params(model, example)
        if before >= case.speedup * after:
            return model, step
    raise SystemExit(f"torch-pruning does not reach {case.speedup}x on {case.network} in {STEPS} steps")


def told(steps: Mapping[str, int]) -> Run:
    """The peer with as many steps as it is known to need, the last of them alone."""

    def run(model: nn.Module, case: Case, example: Tensor) -> tuple[nn.Module, int]:
        pruner = _pruner(model, example)
        for _ in range(steps[case.network]):
            pruner.step()
        return model, 0

    return run


def _pruner(model: nn.Module, example: Tensor) -> Any:
    import torch_pruning

    classifier = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    return torch_pruning.pruner.GroupNormPruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        global_pruning=True,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=[classifier],
    )


def compare(case: Case, rounds: int) -> dict[str, float]:
    """Seconds of every variant, printed; how many times less ours takes."""
    model, example = case.model(), torch.zeros(1, 3, 32, 32)
    before = count_macs(model, example)
    _, steps = peer(copy.deepcopy(model), case, example)
    variants: dict[str, Run] = {
        "nasplat": ours,
        "torch-pruning": peer,
        "  schedule known": told({case.network: steps}),
        "nasplat (control)": ours,
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    reached: dict[str, float] = {}
    ours(model, case, example)
    for _ in range(rounds):
        for name, run in variants.items():
            copied = copy.deepcopy(model)
            start = time.process_time()
            pruned, _ = run(copied, case, example)
            times[name].append(time.process_time() - start)
            reached[name] = before / count_macs(pruned, example)
    print(f"{case.network}, {case.speedup:g}x asked; torch-pruning needs {steps} steps")
    mine = median(times["nasplat"])
    for name, found in times.items():
        print(
            f"  {name:<20}{median(found):>9.3f} s{median(found) / mine:>8.2f}x   "
            f"[{min(found):.3f}, {max(found):.3f}]   reached {reached[name]:.3f}x"
        )
    return {name: median(found) / mine for name, found in times.items()}


def main() -> None:
    """Compare, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of ResNet-56 alone")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")  # the peer's
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, ", end="")
    print(f"torch-pruning {version('torch-pruning')}, one thread, CPU seconds")
    figures: dict[str, float] = {}
    for case in CASES[:1] if quick else CASES:
        found = compare(case, 1 if quick else 5)
        figures[f"speedup_over_torch_pruning_{case.network}"] = found["torch-pruning"]
        figures[f"schedule_known_{case.network}"] = found["  schedule known"]
        figures[f"control_{case.network}"] = found["nasplat (control)"]
    wanted = [value for name, value in figures.items() if name.startswith("speedup")]
    figures["speedup_over_torch_pruning"] = min(wanted)
    print(json.dumps({"figures": {name: round(value, 3) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
