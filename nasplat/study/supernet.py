"""The supernet that a page asks for: by its file, or by training it, or by waiting for who does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import sleep

from nasplat.errors import StoreError
from nasplat.files import json_hash
from nasplat.metric import Workbench
from nasplat.store import worker_name
from nasplat.study.method import Training, elastic
from nasplat.study.observer import Observer
from nasplat.study.run import Watcher
from nasplat.study.shelf import SUPERNET, Shelf
from nasplat.study.team import Team
from nasplat.study.worker import LEASE_SECONDS, LeaseLost
from nasplat.supernet import load_weights, train

_POLL_SECONDS = 1.0


def checkpoint_path(bench: Workbench, training: Training, folder: Path) -> Path:
    """Where a training of this origin writes its checkpoint, in a folder of artefacts."""
    return folder / f"supernet-{json_hash(training.origin(bench))[:12]}.checkpoint"


def ready_supernet(bench: Workbench, shelf: Shelf, training: Training, watcher: Watcher, team: Team) -> bool:
    """Put the trained supernet on the bench: from its file, or by training it, or by waiting for who does.

    Whether it was trained here and now.
    """
    origin = training.origin(bench)
    worker = worker_name()
    trained = waiting = False
    while shelf.find(SUPERNET, origin) is None:
        if shelf.store.claim(shelf.study_id, SUPERNET, worker, LEASE_SECONDS):
            try:
                with team.at_work():
                    _train(bench, shelf, training, worker, watcher)
                trained = True
            except LeaseLost:
                if not team.alone:  # the others cannot be stopped in the middle of a step
                    raise StoreError(
                        "another worker has taken over the training; run again to wait for it"
                    ) from None
                watcher.say("another worker has taken over the training of the supernet")
            finally:
                shelf.store.unclaim(shelf.study_id, SUPERNET, worker)
        else:
            if not waiting:
                watcher.say("another worker trains the supernet; waiting for it")
            waiting = True
            team.wait()
            sleep(_POLL_SECONDS)
    load_supernet(bench, shelf, training)
    if training.probes and not (trained or waiting or shelf.store.observations(shelf.study_id)):
        watcher.say("probes look only while a supernet is trained; this one was trained before")
    return trained


def load_supernet(bench: Workbench, shelf: Shelf, training: Training) -> None:
    """Put the trained supernet on the bench from its file; StoreError where that is gone."""
    found = shelf.find(SUPERNET, training.origin(bench))
    if found is None:
        raise StoreError(
            f"the weights of the supernet are gone from {shelf.path('')}; copy them back, or run the study again"
        )
    bench.supernet = bench.make_supernet()
    load_weights(bench.supernet, found[0])
    bench.supernet.to(bench.device).eval()
    bench.supernet_hash = found[1].content_hash


def _train(bench: Workbench, shelf: Shelf, training: Training, worker: str, watcher: Watcher) -> None:
    """Train the supernet, going on from a checkpoint if there is one, and put it on the shelf."""
    checkpoint = checkpoint_path(bench, training, shelf.path(""))

    def alive() -> None:
        if not shelf.store.renew_claim(shelf.study_id, SUPERNET, worker, LEASE_SECONDS):
            raise LeaseLost

    def progress(done: int, total: int, figures: Mapping[str, float]) -> None:
        alive()
        watcher.training(done, total, figures)

    net, tally = training.fresh(bench), training.tally(bench, "load" in training.probes)
    resumed = " from its checkpoint" if checkpoint.exists() else ""
    watcher.say(f"training the supernet of {bench.space.name} ({bench.space.size:,} architectures){resumed}")
    if not training.plain:
        watcher.say(f"weights shared by {training.kind}: {training.cost(elastic(bench.space))}")
    origin, every = training.origin(bench), training.table.probe_every
    observer = Observer(bench, shelf, origin, training.probes, tally, alive)
    report = train(
        net,
        bench.need_data("accuracy"),
        training.schedule(net, bench, tally),
        training.recipe,
        replace(training.settings(bench, checkpoint), progress=progress),
        after_epoch=observer.watch(net, every, training.recipe.epochs),
    )
    shelf.keep_supernet(f"{checkpoint.stem}.safetensors", net, origin)
    checkpoint.unlink(missing_ok=True)
    first = "" if report.first_loss == report.loss else f" ({report.first_loss:.3g} of the first network)"
    watcher.say(f"trained {report.epochs} epochs in {report.seconds:.1f} s, loss {report.loss:.3g}{first}")


def join_training(bench: Workbench, training: Training, folder: Path) -> None:
    """Take part in a training that another process leads, which writes and looks."""
    net = training.fresh(bench)
    train(
        net,
        bench.need_data("accuracy"),
        training.schedule(net, bench, training.tally(bench, False)),
        training.recipe,
        training.settings(bench, checkpoint_path(bench, training, folder)),
        after_epoch=(lambda epoch: None)
        if training.probes
        else None,  # as the leader: both stop at an epoch's end
    )
