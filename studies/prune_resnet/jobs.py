"""What one job of the study does: prune one network by one method to one speed-up, finetune, measure."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from methods import META_SECONDS, METHODS, UNPRUNED
from networks import BASES, RESNETS, dataset, load, load_all
from proposals import Case, Size
from safetensors.torch import load_file, save_file
from torch import nn
from training import finetune, recalibrated

from nasplat.data import evaluate
from nasplat.measure import Repeats, count_macs, count_params, device_info, measure_latency
from nasplat.prune import Plan, load_plan

BATCHES = (1, 64)
UNITS = {"ms": "ms", "seconds": "s"}


@dataclass(frozen=True, slots=True)
class Job:
    """One network, by its number among the bases. speedup: multiply-adds before over after; 1 for "unpruned"."""

    method: str
    network: int
    speedup: float
    size: Size
    folder: str

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"{self.method} {self.network} {self.speedup:g}x, {self.size.epochs} epochs"

    @property
    def plan(self) -> Path:
        """Where its plan lies; one for all budgets that do the same before the cut."""
        before = METHODS[self.method].epochs_before(self.size)
        return Path(
            self.folder, "plans", f"{self.method} {self.network} {self.speedup:g}x, {before} epochs.json"
        )


@dataclass(frozen=True, slots=True)
class LatencyJob:
    """Latency of a pruned network, which only depends on its plan; measured when nothing else runs."""

    of: Job

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"latency {self.of.name}"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What the metanetwork of a method has cost, as its card and those of its data models say."""

    method: str
    folder: str

    @property
    def name(self) -> str:
        """Unique in the file."""
        return f"training {self.method}"


def work(job: Job | LatencyJob | TrainingJob) -> list[dict[str, Any]]:
    """The rows of a job."""
    torch.set_num_threads(1)
    if isinstance(job, TrainingJob):
        where, found = {"method": job.method, "network": -1, "speedup": 1.0, "epochs": 0}, training(job)
    else:
        of = job if isinstance(job, Job) else job.of
        where = {"method": of.method, "network": of.network, "speedup": of.speedup, "epochs": of.size.epochs}
        found = accuracy(of) if isinstance(job, Job) else latency(of)
    row = {"job": job.name, **where}
    origin = f"{device_info('cpu').name}, torch {torch.__version__}"
    return [row | {"what": w, "value": v, "unit": unit(w), "origin": origin} for w, v in found.items()]


def unit(what: str) -> str:
    """Of a measure, by the last word of its name."""
    return UNITS.get(what.rsplit(maxsplit=1)[-1], "1")


def base(job: Job) -> nn.Module:
    """The network that is to be pruned."""
    plan = BASES[job.network]
    return load(Path(job.folder, plan.folder, f"{plan.name}.json"))[0]


def accuracy(job: Job) -> dict[str, float]:
    """Accuracies before and after finetuning, sizes, and seconds of one processor for each step."""
    data, method = dataset(14, job.size.images), METHODS[job.method]
    case = Case(base(job), data, job.network, job.size)
    whole = sizes(case.network)
    network, found = (case.network, {}) if method.prepare is None else prepared(job, case)
    if job.method != UNPRUNED:
        plan = planned(job, case, network)
        network, found["plan seconds"] = plan.apply(network), plan.seconds
    found |= {f"{what} left": of / whole[what] for what, of in sizes(network).items()}
    found["cut"] = evaluate(network, data.validation, data.task)
    found["cut, recalibrated"] = recalibrated(network, data)
    start = time.process_time()
    finetune(network, data, job.size.epochs - method.epochs_before(job.size), job.network)
    found["finetuning seconds"] = time.process_time() - start
    found["validation"] = evaluate(network, data.validation, data.task)
    return found | {"test": evaluate(network, data.test, data.task)}


def planned(job: Job, case: Case, network: nn.Module) -> Plan:
    """What stays, and what finding that took; once for all budgets that do the same before the cut."""
    if not job.plan.exists():
        start = time.process_time()
        plan = METHODS[job.method].plan(case, network, job.speedup)
        job.plan.parent.mkdir(parents=True, exist_ok=True)
        replace(plan, seconds=time.process_time() - start).save(job.plan)
    return load_plan(job.plan)


def prepared(job: Job, case: Case) -> tuple[nn.Module, dict[str, float]]:
    """The network made easy to prune, and what that took; once for all speed-ups, kept in a file."""
    path = Path(job.folder, "prepared", f"{job.method} {job.network} {job.size.first}.safetensors")
    if not path.exists():
        start, cpu = METHODS[job.method].prepare, time.process_time()
        assert start is not None
        network = start(case)
        seconds = torch.tensor(time.process_time() - cpu)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        save_file(
            {k: t.contiguous() for k, t in network.state_dict().items()} | {"seconds": seconds}, scratch
        )
        scratch.replace(path)
    state = load_file(path)
    found = {"preparing seconds": float(state.pop("seconds"))}
    network = base(job)
    network.load_state_dict(state)
    found["prepared"] = evaluate(network, case.data.validation, case.data.task)
    return network.eval(), found


def sizes(network: nn.Module) -> dict[str, int]:
    """Multiply-adds of one image, and parameters."""
    return {"MACs": count_macs(network, torch.zeros(1, 1, 14, 14)), "parameters": count_params(network)}


def training(job: TrainingJob) -> dict[str, float]:
    """Seconds that were spent once: on the data models, and on the metanetwork."""
    models = [row["cpu_s"] for _, row in load_all(Path(job.folder), RESNETS)]
    return {"data models seconds": sum(models), "meta-training seconds": META_SECONDS[job.method]()}


def latency(job: Job) -> dict[str, float]:
    """Milliseconds of one thread, for each size of a batch."""
    network = base(job)
    if job.method != UNPRUNED:
        network = load_plan(job.plan).apply(network)
    repeats = Repeats(budget_s=0.5)
    return {
        f"batch {n}, ms": measure_latency(
            network, torch.zeros(n, 1, 14, 14), threads=1, repeats=repeats
        ).median_ms
        for n in BATCHES
    }
