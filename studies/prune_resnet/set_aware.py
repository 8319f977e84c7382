"""Train a set-aware metanetwork, which says what channels are worth given which others are gone.

    python studies/prune_resnet/set_aware.py [--family resnet] [--weights-only] [--walks 3] [--epochs 16] [-o FOLDER]

Learns from the data models that run.py has trained (out/models); those that are held out choose the epoch. Masks are
kept in out/masks, network by network, and training after every epoch: the same command goes on where it stopped. FOLDER
gets weights and card.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded

import argparse
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from networks import RESNETS, VGGS, Plan, dataset, load

from nasplat.prune.meta import cross_entropies
from nasplat.prune.meta.data_models import data_model
from nasplat.prune.meta.family import Family
from nasplat.prune.setaware import (
    Body,
    Card,
    Epoch,
    Fitting,
    Lesson,
    SetAware,
    Walks,
    draw_masks,
    fit,
    read_masks,
    write_masks,
)
from nasplat.study.provenance import commit_of

HERE = Path(__file__).resolve().parent
FAMILIES = {"resnet": RESNETS, "vgg": VGGS}
BATCH = 128
"""Training images on which a rise is measured, others in each walk."""


def lesson(plan: Plan, walks: Walks, out: Path) -> Lesson:
    """A network and its masks, which are drawn unless they are there."""
    network, _ = load(out / plan.folder / f"{plan.name}.json")
    model = data_model(network, plan.form.example)
    path = out / "masks" / f"{plan.name}.safetensors"
    if not path.exists():
        data = dataset(plan.form.side).train
        losses = cross_entropies(data.inputs, data.targets, batch=BATCH)
        write_masks(path, draw_masks(model, losses, walks, plan.seed), walks)
        print(f"{plan.name}: masks drawn", flush=True)
    return Lesson.of(model, read_masks(path, walks))


def lessons(family: str, walks: Walks, out: Path, held_out: bool) -> Iterator[Lesson]:
    """Of all networks of a family that are there."""
    for plan in FAMILIES[family]:
        if plan.held_out == held_out and (out / plan.folder / f"{plan.name}.json").exists():
            yield lesson(plan, walks, out)


def told(epoch: Epoch) -> None:
    print(
        f"epoch {epoch.number}: loss {epoch.loss:.3f}, correlation {epoch.value:.3f}, {epoch.seconds:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=FAMILIES, default="resnet")
    parser.add_argument("--weights-only", action="store_true", help="no backward pass")
    parser.add_argument("--walks", type=int, default=3, help="of each network")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("-o", type=Path, help="default: out/set_aware_FAMILY")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out = HERE / "out"
    walks = Walks(walks=asked.walks, steps=20, candidates=24)
    body, fitting = (
        Body(width=32, layers=3, taylor=not asked.weights_only),
        Fitting(epochs=asked.epochs, rate=3e-3),
    )
    own, other = (list(lessons(asked.family, walks, out, held)) for held in (False, True))
    name = f"set_aware_{asked.family}{'_weights' if asked.weights_only else ''}"
    found = fit(body, own, other, fitting, out / f"{name}_training", told)
    card = Card(
        body=body,
        walks=walks,
        fitting=fitting,
        family=Family.of([one.model.graph for one in [*own, *other]], 4.0),
        data="Fashion-MNIST, 10,000 training images averaged over 2x2 pixels",
        networks=len(own),
        held_out=len(other),
        masks=sum(len(one.masks) for one in own),
        chosen=found.chosen.number,
        epochs=found.epochs,
        command=shlex.join(["python", "studies/prune_resnet/set_aware.py", *sys.argv[1:]]),
        commit=commit_of(),
        versions={"torch": torch.__version__, "nasplat": version("nasplat")},
        figures={"held_out_spearman": found.chosen.value},
    )
    SetAware(found.network, card).save(asked.o or out / name)


if __name__ == "__main__":
    main()
