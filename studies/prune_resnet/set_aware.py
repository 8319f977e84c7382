"""Train a set-aware metanetwork, which says what channels are worth given which others are gone.

    python studies/prune_resnet/set_aware.py [--family resnet] [--weights-only] [--epochs 16] [--again 0] [-o FOLDER]

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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import torch
from networks import RESNETS, VGGS, Plan, dataset, load

from nasplat.prune.meta import cross_entropies
from nasplat.prune.meta.data_models import data_model
from nasplat.prune.meta.family import Family
from nasplat.prune.setaware import (
    Body,
    Card,
    Epoch,
    Fitted,
    Fitting,
    Lesson,
    Masks,
    SetAware,
    Walks,
    draw_masks,
    fit,
    follow,
    read_masks,
    write_masks,
)
from nasplat.study.provenance import commit_of

HERE = Path(__file__).resolve().parent
Make: TypeAlias = Callable[..., Masks]
"""(model, losses, walks, seed) -> masks."""

FAMILIES = {"resnet": RESNETS, "vgg": VGGS}
WALKS = Walks(walks=3, steps=20, candidates=24)
WAYS = Walks(walks=1, steps=8, least=1 / 3, candidates=24)
BATCH = 128
"""Training images on which a rise is measured, others in each walk."""


def lesson(plan: Plan, out: Path, make: Make, walks: Walks, folder: str) -> Lesson:
    """A network and its masks, which are made unless they are there."""
    network, _ = load(out / plan.folder / f"{plan.name}.json")
    model = data_model(network, plan.form.example)
    path = out / folder / f"{plan.name}.safetensors"
    if not path.exists():
        data = dataset(plan.form.side).train
        losses = cross_entropies(data.inputs, data.targets, batch=BATCH)
        write_masks(path, make(model, losses, walks, plan.seed), walks)
        print(f"{plan.name}: masks in {folder}", flush=True)
    return Lesson.of(model, read_masks(path, walks))


def lessons(family: str, out: Path, make: Make, walks: Walks, folder: str) -> list[list[Lesson]]:
    """Of all networks of a family that are there: those that are learned from, and those that are held out."""
    plans = [plan for plan in FAMILIES[family] if (out / plan.folder / f"{plan.name}.json").exists()]
    return [
        [lesson(plan, out, make, walks, folder) for plan in plans if plan.held_out == held]
        for held in (False, True)
    ]


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
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument(
        "--again", type=int, default=0, help="epochs with masks that the metanetwork itself comes to"
    )
    parser.add_argument("-o", type=Path, help="default: out/set_aware_FAMILY")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    out, name = HERE / "out", f"set_aware_{asked.family}{'_weights' if asked.weights_only else ''}"
    body, fitting = Body(taylor=not asked.weights_only), Fitting(epochs=asked.epochs, rate=3e-3)
    drawn = lessons(asked.family, out, draw_masks, WALKS, "masks")
    fitted = fit(body, *drawn, fitting, out / f"{name}_training", told)
    found = SetAware(fitted.network, card(body, fitting, fitted, drawn, 1))
    if asked.again:
        followed = lessons(asked.family, out, partial(follow, found), WAYS, f"{name}_masks")
        drawn = [[*one, *other] for one, other in zip(drawn, followed, strict=True)]
        fitting = replace(fitting, epochs=asked.again, rate=1e-3)
        fitted = fit(body, *drawn, fitting, out / f"{name}_again", told, fitted.network)
        found = SetAware(fitted.network, card(body, fitting, fitted, drawn, 2))
    found.save(asked.o or out / name)


def card(
    body: Body, fitting: Fitting, fitted: Fitted, learned: Sequence[Sequence[Lesson]], rounds: int
) -> Card:
    """What was learned, in rounds of masks of the same networks."""
    own, other = learned
    return Card(
        body=body,
        walks=WALKS,
        fitting=fitting,
        family=Family.of([one.model.graph for one in [*own, *other]], 4.0),
        data="Fashion-MNIST, 10,000 training images averaged over 2x2 pixels",
        networks=len(own) // rounds,
        held_out=len(other) // rounds,
        masks=sum(len(one.masks) for one in own),
        chosen=fitted.chosen.number,
        epochs=fitted.epochs,
        command=shlex.join(["python", "studies/prune_resnet/set_aware.py", *sys.argv[1:]]),
        commit=commit_of(),
        versions={"torch": torch.__version__, "nasplat": version("nasplat")},
        figures={"held_out_spearman": fitted.chosen.value},
    )


if __name__ == "__main__":
    main()
