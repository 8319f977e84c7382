"""How a page's supernet is trained: its tables as objects, and what of them decides the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from nasplat.arguments import accepts, check_arguments
from nasplat.elastic import ElasticSpace
from nasplat.elastic.weights.memory import check_memory
from nasplat.errors import InvalidStudy, NasplatError, expected_one_of
from nasplat.files import file_hash
from nasplat.metric import Workbench
from nasplat.space import Space
from nasplat.study.file import Supernet
from nasplat.supernet import METHODS, Method, Schedule, Settings
from nasplat.supernet.mixtures import Mixture, Setting, Sliced, make_mixture
from nasplat.supernet.mixtures.cost import SharingCost, sharing_cost, sketch
from nasplat.supernet.probes import Probe, Tally, make_probe
from nasplat.supernet.probes.conflict import GradientConflict
from nasplat.supernet.start import load_start

PLAIN = {"kind": "slice"}  # the mixture of a page that names none


@dataclass(frozen=True, slots=True)
class Training:
    """How a supernet is trained: the [supernet] table as objects. `start` is a file of weights, with its hash."""

    table: Supernet
    recipe: Method
    probes: Mapping[str, Probe]
    start: Path | None = None
    start_hash: str | None = None
    mixture: Mixture = field(default_factory=Sliced)

    @property
    def kind(self) -> str:
        """The kind of the mixture."""
        return str((self.table.mixture or PLAIN)["kind"])

    @property
    def sharing(self) -> dict[str, Any]:
        """The mixture with all defaults in their places; empty for plain slicing, which is as if none was named."""
        return {} if self.plain else {"mixture": {"kind": self.kind, **asdict(self.mixture)}}

    @property
    def plain(self) -> bool:
        """Whether weights are shared as the family itself does it."""
        return isinstance(self.mixture, Sliced)

    def shared(self, space: Space) -> ElasticSpace:
        """The space with a supernet that shares its weights as the page says; InvalidStudy where that does not fit."""
        space = elastic(space)
        if self.plain:
            return space
        shared = space.shared(self.mixture.apply)
        with _told():
            sketch(shared)
        return shared

    def cost(self, space: ElasticSpace) -> SharingCost:
        """What sharing so costs."""
        return sharing_cost(space, self.mixture, self.recipe)

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
        """Raise in one line for what a training would find out: kinds of probes, and phases that do not fit.

        Nothing is allocated.
        """
        if not self.plain:
            check_memory(
                self.cost(elastic(bench.space)).training_bytes, f"the weights of a mixture {self.kind}"
            )
        for probe in self.probes.values():
            if isinstance(probe, GradientConflict):
                probe.choices(bench.space)
        self._mixed(self._phases(bench, self.recipe), sketch(elastic(bench.space)), bench)

    def fresh(self, bench: Workbench) -> nn.Module:
        """The network as its training begins, on the CPU."""
        net = bench.make_supernet()
        if self.start is not None:
            if not self.start.is_file():
                raise _no_start(self.table, self.start)
            load_start(net, bench.space, self.start)
        return net

    def schedule(self, net: nn.Module, bench: Workbench, tally: Tally) -> Schedule:
        """The method's phases on the bench's data, with what the mixture adds; the tally watches."""
        return tally.watch(self._mixed(self._phases(bench, self.recipe), net, bench))

    def steady(self, net: nn.Module, bench: Workbench, recipe: Method) -> Schedule:
        """The phases of a recipe without what the mixture does between them, such as a split: for timing steps."""
        phases = self._phases(bench, recipe)
        methods_own = {id(morphism) for phase in phases.phases for morphism in phase.on_enter}
        mixed = self._mixed(phases, net, bench)
        kept = [[m for m in phase.on_enter if id(m) in methods_own] for phase in mixed.phases]
        pairs = zip(mixed.phases, kept, strict=True)
        return replace(mixed, phases=tuple(replace(phase, on_enter=tuple(own)) for phase, own in pairs))

    def _phases(self, bench: Workbench, recipe: Method) -> Schedule:
        return recipe.schedule(bench.space, bench.need_data("accuracy"), bench.seed)

    def _mixed(self, phases: Schedule, net: nn.Module, bench: Workbench) -> Schedule:
        at = Setting(net, elastic(bench.space), bench.need_data("accuracy"), self.recipe, bench.seed)
        return self.mixture.schedule(phases, at)

    def tally(self, bench: Workbench, recording: bool) -> Tally:
        """A list of the architectures that are asked for, with what the mixture adds to them."""
        return Tally(self.mixture.trained(bench.space), recording)

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
    elastic(bench.space)
    if table.calibration_batches == 0 and table.execution != "slice":
        raise InvalidStudy(
            f"[supernet] calibration_batches = 0 needs running statistics, which execution = {table.execution!r} "
            "does not keep; write execution = 'slice', or calibrate"
        )
    probes = {name: make_probe(name) for name in table.probes}
    start = None if table.start is None else folder / table.start
    start_hash = _start_hash(table, start, known_start)
    return Training(table, recipe, probes, start, start_hash, _mixture(table))


def elastic(space: Space) -> ElasticSpace:
    """A space as one that has a supernet; raises in one line where it has none."""
    if not isinstance(space, ElasticSpace):
        raise InvalidStudy(f"space {space.name!r} is not elastic: it has no supernet; remove [supernet]")
    return space


def _mixture(table: Supernet) -> Mixture:
    """The mixture of the page, plain slicing where it names none; raises in one line for what does not fit."""
    given = PLAIN if table.mixture is None else table.mixture
    with _told():
        mixture = make_mixture(given)
    if table.execution not in mixture.executions:
        raise InvalidStudy(
            f"[supernet] mixture {given['kind']} cannot be trained with execution = {table.execution!r}; "
            f"write execution = {mixture.executions[0]!r}"
        )
    return mixture


@contextmanager
def _told() -> Iterator[None]:
    """Open the line of a mistake by the place of the page where it is."""
    try:
        yield
    except NasplatError as error:
        raise InvalidStudy(f"[supernet] {error}") from None


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
