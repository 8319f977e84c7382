"""What masks of single weights save in time: nothing, unless the zeros are skipped.

    python benchmarks/sparse.py [--quick]

Forward passes in fp32 on one thread, by CPU time, which is the latency of a machine that has nothing else to do: dense,
masked (zeros are multiplied like any number) and csr (linear layers in compressed rows of torch.sparse; torch has no
sparse convolution). They take turns pass by pass and are compared by medians; the control, a second copy of the dense
network, shows the noise. A ratio below 1 is faster. On an idle machine `nasplat.prune.sparse.measure_formats` gives the
same as latencies with device and spread.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from functools import partial
from itertools import pairwise

import torch
from elastic import cpu_ms, interleaved
from torch import Tensor, nn

from nasplat.networks import resnet20
from nasplat.prune.sparse import plan_masks, sparse_linear

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)


def networks() -> Mapping[str, tuple[nn.Module, Tensor]]:
    """Networks and inputs for them: a linear one on one input and on 64, a convolutional one on one."""
    layers = [layer for i, o in pairwise((784, 1024, 1024, 10)) for layer in (nn.Linear(i, o), nn.ReLU())]
    linear = nn.Sequential(*layers[:-1])
    return {
        "mlp, batch 1": (linear, torch.randn(1, 784)),
        "mlp, batch 64": (linear, torch.randn(64, 784)),
        "resnet20, batch 1": (resnet20(), torch.randn(1, 3, 32, 32)),
    }


@torch.inference_mode()
def times_of(module: nn.Module, example: Tensor, sparsity: float, rounds: int) -> dict[str, float]:
    """Milliseconds of every form of a network."""
    masked = plan_masks(module, 1 - sparsity).apply(module).eval()
    forms = {
        "dense": copy.deepcopy(module).eval(),
        "control": copy.deepcopy(module).eval(),
        "masked": masked,
        "csr": sparse_linear(masked),
    }
    passes = [partial(form, example) for form in forms.values()]
    loops = 20 if example.shape[-1] == 784 and len(example) == 1 else 1  # one pass is too short for the clock
    actions = [partial(repeated, one, loops) for one in passes]
    return {n: ms / loops for n, ms in zip(forms, interleaved(actions, rounds, cpu_ms), strict=True)}


def repeated(one: partial[Tensor], times: int) -> None:
    """The same pass several times."""
    for _ in range(times):
        one()


def main() -> None:
    """Print the table, then the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sparsities and rounds")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    print(f"{'network':<20}{'sparsity':>10}{'dense ms':>10}{'control':>9}{'masked':>8}{'csr':>7}")
    for name, (module, example) in networks().items():
        for sparsity in (0.9, 0.98) if quick else SPARSITIES:
            ms = times_of(module, example, sparsity, 20 if quick else 100)
            row = {form: value / ms["dense"] for form, value in ms.items()}
            cells = f"{ms['dense']:>10.3f}{row['control']:>9.2f}{row['masked']:>8.2f}{row['csr']:>7.2f}"
            print(f"{name:<20}{sparsity:>10.0%}{cells}", flush=True)
            key = f"{name}_{sparsity:.0%}".replace(", ", "_").replace(" ", "_").replace("%", "")
            figures |= {f"{form}_over_dense_{key}": round(row[form], 3) for form in ("masked", "csr")}
    print(json.dumps({"figures": figures}))


if __name__ == "__main__":
    main()
