"""From a study file to a running loop: everything is checked before anything is trained, measured or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nasplat.arguments import accepts, check_arguments
from nasplat.data import Dataset, load_data
from nasplat.errors import InvalidStudy, NasplatError
from nasplat.measure import pick_device
from nasplat.metric import Workbench, source_hash
from nasplat.plugins import load, load_object
from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import Mirror, make_pruner, make_sampler
from nasplat.space import Space
from nasplat.store import Proposal, SpaceRecord, Store, StudyRecord
from nasplat.study.feasible import check_bounds
from nasplat.study.file import StudyTable
from nasplat.study.folder import StudyFolder
from nasplat.study.identity import refuse_changes
from nasplat.study.ledger import Ledger
from nasplat.study.method import Training, make_training
from nasplat.study.plan import Plan, make_plan
from nasplat.study.run import Limits, Loop, RunSummary, Silence, Watcher
from nasplat.study.shelf import Shelf
from nasplat.study.supernet import ready_supernet
from nasplat.study.team import Team
from nasplat.study.worker import Worker
from nasplat.supernet.world import World

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass
class Assembly:
    """A study whose page has been turned into objects. `space_arguments` make the space again without the data."""

    study: StudyFolder
    bench: Workbench
    training: Training | None
    space_arguments: Mapping[str, Any]

    @cached_property
    def plan(self) -> Plan:
        """The metrics, bounds and filter; raises in one line for what does not fit."""
        return make_plan(self.study.page, self.bench, self.study.folder)

    def ready_supernet(self, shelf: Shelf, watcher: Watcher) -> None:
        """Put the trained supernet on the bench, if the study has one; it becomes part of the metrics' origins.

        Meanwhile another worker may have begun to ask what the page says by now: StoreError.
        """
        if self.training is not None:
            ready_supernet(self.bench, shelf, self.training, watcher, Team(World()))
            del self.plan
            _refuse_another_question(shelf.store, self.record())

    def record(self) -> StudyRecord:
        """The study as the store keeps it."""
        from optuna.distributions import distribution_to_json

        space = self.bench.space
        drawn = space.distributions()
        return StudyRecord(
            name=self.study.name,
            directions=self.plan.directions,
            objectives=[m.name for m in self.plan.objectives],
            space=SpaceRecord(space.hash, space.name, space.description),
            distributions={name: distribution_to_json(d) for name, d in drawn.items()},
            config=_identity(self),
            seed=self.study.page.study.seed,
        )

    def mirror(self) -> Mirror:
        """An empty mirror with the page's sampler and pruner."""
        page, space, base = self.study.page, self.bench.space, self.study.folder
        table, pruner = page.sampler, page.pruner

        def sampler(seed: int) -> BaseSampler:
            return make_sampler(
                table.name, table.arguments, seed=seed, space=space, base=base, surrogates=make_surrogate
            )

        sampler(0)  # what is wrong with the table shows here
        return Mirror(
            self.plan.directions,
            sampler,
            space,
            page.study.seed,
            pruner=None if pruner is None else make_pruner(pruner.name, pruner.arguments),
        )


def assemble(study: StudyFolder, device: str | None = None) -> Assembly:
    """Turn the page into objects; raises in one line for whatever does not fit. The plan is made when it is needed."""
    page = study.page
    data = _data(study)
    arguments = space_arguments(study, data)
    bench = Workbench(
        make_space(study, arguments), data, device=str(pick_device(device or "auto")), seed=page.study.seed
    )
    training = None
    if page.supernet is not None:
        bench.calibration_batches = page.supernet.calibration_batches
        bench.seed = page.study.seed if page.supernet.seed is None else page.supernet.seed
        bench.inherits = True
        training = make_training(page.supernet, bench, study.folder, _known_start(study))
        bench.space = training.shared(bench.space)
    return Assembly(study, bench, training, arguments)


def _data(study: StudyFolder) -> Dataset | None:
    """The page's data; for a user's own, its source is part of what it is: loss and augmentation are written there."""
    table = study.page.data
    if table is None:
        return None
    data = load_data(table.name, base=study.folder, **table.arguments)
    if ":" not in table.name:
        return data
    source = source_hash(load_object(table.name, study.folder))
    return replace(data, origin={**data.origin, "source": source})


def space_arguments(study: StudyFolder, data: Dataset | None) -> dict[str, Any]:
    """The arguments of the page's space; input shape and classes come from the data where the page has none."""
    table = study.page.space
    factory = load("spaces", table.name, base=study.folder)
    known = {} if data is None else {"input_shape": list(data.input_shape), "classes": data.classes}
    given = table.arguments.get("classes")
    if data is not None and data.classes is not None and isinstance(given, int) and given < data.classes:
        raise InvalidStudy(
            f"[space] classes = {given}, but the data has {data.classes}: give as many, or leave it out"
        )
    fitting = {k: v for k, v in known.items() if v is not None and accepts(factory, k)}
    return {**fitting, **table.arguments}


def make_space(study: StudyFolder, arguments: Mapping[str, Any]) -> Space:
    """The page's space from its arguments."""
    name = study.page.space.name
    factory = load("spaces", name, base=study.folder)
    given = check_arguments(factory, arguments, f"[space] {name}")
    if accepts(
        factory, "base"
    ):  # the folder that paths are relative to; where a study lies is not part of it
        given["base"] = study.folder
    space = factory(**given)
    if not isinstance(space, Space):
        raise InvalidStudy(f"[space] {name} made a {type(space).__name__}, not a Space")
    space.check()
    if ":" in name:  # a user's own: other builders and arguments make other networks of the same choices
        space.constants |= {"source": source_hash(factory), "arguments": dict(arguments)}
    return space


def run_study(
    study: StudyFolder,
    trials: int | None = None,
    timeout: float | None = None,
    device: str | None = None,
    watcher: Watcher | None = None,
) -> RunSummary:
    """Start, resume or join a study; see `Study.run`."""
    page, watcher = study.page.study, watcher or Silence()
    limits = _limits(page, trials, timeout)
    assembly = assemble(study, device)
    mirror = assembly.mirror()
    check_bounds(assembly.plan, assembly.bench)
    shelf = join_study(assembly)
    assembly.ready_supernet(shelf, watcher)
    worker = Worker(shelf.store, shelf.study_id, assembly.bench.space, mirror)
    ledger = Ledger(shelf.store, assembly.bench.space.hash, shelf)
    loop = Loop(worker, assembly.plan, assembly.bench, ledger, watcher)
    return loop.run(limits)


def _known_start(study: StudyFolder) -> str | None:
    """The hash of the file that the stored study's supernet began with: once it is trained, the file may go."""
    try:
        question = study.record.config.get("supernet") or {}
    except NasplatError:  # the study was not run yet
        return None
    found = question.get("start")
    return None if found is None else str(found)


def _limits(page: StudyTable, trials: int | None, timeout: float | None) -> Limits:
    """The page's limits with those of the call in their place."""
    if trials is not None and trials < 1:
        raise InvalidStudy(f"trials = {trials}: expected at least 1, the number of trials in all")
    seconds = page.timeout if timeout is None else timeout
    return Limits(page.trials if trials is None else trials, seconds, page.target)


def enqueue(
    study: StudyFolder, architectures: Sequence[Mapping[str, Any]], device: str | None = None
) -> list[int | None]:
    """Put architectures into the study's queue; see `Study.enqueue`."""
    assembly = assemble(study, device)
    space = assembly.bench.space
    archs = [space.arch(values) for values in architectures]
    assembly.mirror()  # nothing is written unless the whole page is right
    shelf, must = join_study(assembly), {"enqueued": True}
    proposals = [Proposal(space.params(a), a.to_json(), a.key, user_attrs=must) for a in archs]
    return [shelf.store.enqueue(shelf.study_id, proposal) for proposal in proposals]


def join_study(assembly: Assembly) -> Shelf:
    """The study's place in its store, which is made where there is none; refuses one that asks another question."""
    study, record = assembly.study, assembly.record()
    if assembly.training is not None:
        assembly.training.check(assembly.bench)
    store = Store.open(study.page.study.store, base=study.folder)
    _refuse_other_keys(store, record)
    study_id = store.create_study(record)  # refuses another space and other objectives
    _refuse_another_question(store, record)
    for machine in _machines(assembly).values():
        store.machine(machine)
    return Shelf(store, study_id, study.folder, study.name)


def _refuse_other_keys(store: Store, record: StudyRecord) -> None:
    """Name the key that changed before the store can only say that the space is another one."""
    known = store.find_study(record.name)
    if known is None or known.space is None or record.space is None or not store.trials(known.id):
        return  # without a trial it may take another configuration
    same = known.space.name == record.space.name and list(known.objectives) == list(record.objectives)
    if same and list(known.directions) == list(record.directions):
        refuse_changes(record.name, known.config, record.config)


def _refuse_another_question(store: Store, record: StudyRecord) -> None:
    known = store.find_study(record.name)
    if known is not None:
        refuse_changes(record.name, known.config, record.config)


def _identity(assembly: Assembly) -> dict[str, Any]:
    """What may not change while a study goes on, because its values would no longer compare."""
    page, bench = assembly.study.page, assembly.bench
    return {
        "data": None if bench.data is None else bench.data.identity,
        "supernet": None if assembly.training is None else assembly.training.question(bench),
        "objectives": [o.model_dump() for o in page.objective],
        "constraints": [c.model_dump() for c in page.constraint],
        "seed": page.study.seed,
        "machines": {name: machine["name"] for name, machine in _machines(assembly).items()},
        "space_arguments": dict(assembly.space_arguments),
    }


def _machines(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """The machines that metrics are measured on, by metric."""
    return {m.name: m.origin["machine"] for m in assembly.plan.metrics if "machine" in m.origin}
