"""The steps from a network to a smaller one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from torch import nn

from nasplat.prune import Plan
from nasplat.study.pruning.figures import Figures, judged
from nasplat.study.pruning.finetune import finetune
from nasplat.study.pruning.plan import Work, make_plan, start_of
from nasplat.study.run import Watcher
from nasplat.supernet import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A smaller network and what is known of it."""

    module: nn.Module
    plan: Plan
    before: Figures
    after: Figures
    epochs: Mapping[str, list[float]]
    seconds: Mapping[str, float]


def make(work: Work, watcher: Watcher) -> Made:
    """Rewrite where a metanetwork is to, plan, cut, finetune; then measure the network and the smaller one."""
    return _Making(work, watcher).made()


@dataclass(slots=True)
class _Making:
    """The steps from the network to the smaller one, each with its time."""

    work: Work
    watcher: Watcher

    def made(self) -> Made:
        """All steps."""
        work, seconds = self.work, dict[str, float]()
        tuning = work.order.finetuning
        start, epochs = perf_counter(), dict[str, list[float]]()
        module = start_of(work)
        if tuning.before is not None:
            epochs["rewritten"] = self._finetuned(module, tuning.before)
            seconds["rewriting"] = perf_counter() - start
        start = perf_counter()
        plan, small = make_plan(work, module)
        seconds["planning"] = perf_counter() - start
        self.watcher.say(f"planned in {seconds['planning']:.1f} s: {_widths(plan)}")
        start = perf_counter()
        epochs["pruned"] = self._finetuned(small, tuning.epochs)
        seconds["finetuning"] = perf_counter() - start
        before, after = (
            judged(one, work.example, work.device, work.data) for one in (work.subject.module, small)
        )
        return Made(small, plan, before, after, epochs, seconds)

    def _finetuned(self, module: nn.Module, epochs: int) -> list[float]:
        work, tuning = self.work, replace(self.work.order.finetuning, epochs=epochs)
        if work.data is None:
            return []
        settings = Settings(device=work.device, seed=work.order.settings.seed, progress=self.watcher.training)
        return finetune(module, work.data, tuning, settings, self.watcher)


def _widths(plan: Plan) -> str:
    cut = [group for group in plan.groups if group.after < group.before]
    return f"{len(cut)} of {len(plan.groups)} groups get smaller, {len(plan.frozen)} cannot"
