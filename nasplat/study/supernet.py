"""The supernet that a page asks for: what decides its weights, and getting it by its file or by training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from time import sleep
from typing import Any

from torch import nn

from nasplat.arguments import accepts, check_arguments
from nasplat.data import Dataset
from nasplat.elastic import ElasticSpace
from nasplat.errors import InvalidStudy, StoreError, expected_one_of
from nasplat.files import file_hash, json_hash
from nasplat.metric import Workbench
from nasplat.space import Space
from nasplat.store import worker_name
from nasplat.study.file import Supernet
from nasplat.study.observer import Observer
from nasplat.study.run import Watcher
from nasplat.study.shelf import SUPERNET, Shelf
from nasplat.study.team import Team
from nasplat.study.worker import LEASE_SECONDS, LeaseLost
from nasplat.supernet import METHODS, Method, Schedule, Settings, load_weights, train
from nasplat.supernet.mixtures import MIXTURES, Mixture, Setting
from nasplat.supernet.probes import Probe, Tally, make_probe
from nasplat.supernet.probes.conflict import GradientConflict
from nasplat.supernet.start import load_start

_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Training:
    """How a supernet is trained: the [supernet] table as objects. `start` is a file of weights, with its hash."""

    table: Supernet
    recipe: Method
    probes: Mapping[str, Probe]
    start: Path | None = None
    start_hash: str | None = None
    mixture: Mixture | None = None

    def shared(self, space: Space) -> Space:
        """The space with a supernet that shares its weights as the page says."""
        if self.mixture is None or not isinstance(space, ElasticSpace):
            return space
        return space.shared(self.mixture.apply)

    @property
    def sharing(self) -> dict[str, Any]:
        """The mixture with all defaults in their places; empty for plain slicing."""
        table = self.table.mixture
        return {} if table is None or self.mixture is None else {"mixture": {**table, **asdict(self.mixture)}}

    def origin(self, bench: Workbench) -> dict[str, Any]:
        """All that decides the weights, up to what a device changes too: rounding, and which units dropout drops.

        Execution is part of it: where a weight is not used, a slice has no gradient and a masked one a gradient of 0,
        by which momentum and decay go on. Compilation is not.
        """
        start = {} if self.start is None else {"start": self.start_hash}
        return {
            "method": self.table.method,
            "recipe": asdict(self.recipe),
            "space": bench.space.hash,
            "data": bench.need_data("accuracy").identity,
            "seed": bench.seed,
            "execution": self.table.execution,
            **self.sharing,
            **start,
        }

    def question(self, bench: Workbench) -> dict[str, Any]:
        """What the trials of a study depend on: the keys of the table with all defaults in their places.

        So a default that is written out is no change, and one that another version of nasplat changes is.
        """
        return {
            "method": self.table.method,
            **asdict(self.recipe),
            "seed": bench.seed,
            "calibration_batches": self.table.calibration_batches,
            "execution": self.table.execution,
            "start": self.start_hash,
            **self.sharing,
        }

    def check(self, bench: Workbench) -> None:
        """Raise in one line for what a training would find out: kinds of probes, and phases that do not fit."""
        for probe in self.probes.values():
            if isinstance(probe, GradientConflict):
                probe.choices(bench.space)
        self.recipe.schedule(bench.space, bench.need_data("accuracy"), bench.seed)

    def fresh(self, bench: Workbench) -> nn.Module:
        """The network as its training begins, on the CPU."""
        net = bench.make_supernet()
        if self.start is not None:
            if not self.start.is_file():
                raise _no_start(self.table, self.start)
            load_start(net, bench.space, self.start)
        return net

    def schedule(self, net: nn.Module, bench: Workbench, tally: Tally) -> Schedule:
        """The method's phases on the bench's data."""
        return tally.watch(self.phases(net, bench, bench.need_data("accuracy"), self.recipe))

    def phases(self, net: nn.Module, bench: Workbench, data: Dataset, recipe: Method) -> Schedule:
        """The phases of a method on some data, with what the mixture adds."""
        schedule = recipe.schedule(bench.space, data, bench.seed)
        if self.mixture is None or not isinstance(bench.space, ElasticSpace):
            return schedule
        return self.mixture.schedule(schedule, Setting(net, bench.space, data, recipe, bench.seed))

    def tally(self, bench: Workbench, recording: bool) -> Tally:
        """A list of the architectures that are asked for, with what the mixture adds to them."""
        space = bench.space if self.mixture is None else self.mixture.trained(bench.space)
        return Tally(space, recording)

    def settings(self, bench: Workbench, checkpoint: Path) -> Settings:
        """Where and how it runs."""
        table = self.table
        return Settings(
            device=bench.device,
            seed=bench.seed,
            execution=table.execution,
            compile=table.compile,
            checkpoint=checkpoint,
        )


def make_training(
    table: Supernet, bench: Workbench, folder: Path, known_start: str | None = None
) -> Training:
    """The objects of a [supernet] table; raises in one line for what does not fit.

    known_start: the hash of `start` where a study was made with it, which stands for a file that is gone.
    """
    recipe = _recipe(table, bench.recipe)
    if not isinstance(bench.space, ElasticSpace):
        raise InvalidStudy(
            f"space {bench.space.name!r} is not elastic: it has no supernet; remove [supernet]"
        )
    if table.calibration_batches == 0 and table.execution != "slice":
        raise InvalidStudy(
            f"[supernet] calibration_batches = 0 needs running statistics, which execution = {table.execution!r} "
            "does not keep; write execution = 'slice', or calibrate"
        )
    probes = {name: make_probe(name) for name in table.probes}
    start = None if table.start is None else folder / table.start
    mixture = None if table.mixture is None else make_mixture(table)
    return Training(table, recipe, probes, start, _start_hash(table, start, known_start), mixture)


def make_mixture(table: Supernet) -> Mixture:
    """The mixture of the page; raises in one line for what does not fit."""
    given = dict(table.mixture or {})
    kind, where = given.pop("kind", None), "[supernet] mixture"
    if kind not in MIXTURES:
        raise InvalidStudy(f"{where} kind {kind!r} is unknown; {expected_one_of(str(kind), MIXTURES)}")
    mixture = MIXTURES[kind](**check_arguments(MIXTURES[kind], given, f"{where} {kind}"))
    if table.execution not in mixture.executions:
        raise InvalidStudy(
            f"{where} {kind} cannot be trained with execution = {table.execution!r}; "
            f"write execution = {mixture.executions[0]!r}"
        )
    return mixture


def _start_hash(table: Supernet, start: Path | None, known: str | None) -> str | None:
    if start is None:
        return None
    if start.is_file():
        return file_hash(start)
    if known is None:
        raise _no_start(table, start)
    return known


def _no_start(table: Supernet, start: Path) -> InvalidStudy:
    return InvalidStudy(f"[supernet] start = {table.start!r}: there is no file {start}; correct the path")


def _recipe(table: Supernet, defaults: Mapping[str, Any]) -> Method:
    """The recipe of the page; where it says nothing the space's own, and where neither does the method's."""
    if table.method not in METHODS:
        raise InvalidStudy(
            f"[supernet] method {table.method!r} is unknown; {expected_one_of(table.method, METHODS)}"
        )
    kind, where = METHODS[table.method], f"[supernet] {table.method}"
    for key in table.arguments:
        if not accepts(kind, key):
            known = [*Supernet.model_fields, *(field.name for field in fields(kind))]
            raise InvalidStudy(f"{where} has no key {key!r}; {expected_one_of(key, known)}")
    return kind(**check_arguments(kind, {**defaults, **table.arguments}, where))


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
