"""The run loop: ask the sampler, measure the architecture, tell the store; until the study is done.

The store is the record. Samplers see an in-memory mirror of it, so a trial costs one transaction to ask and one to
tell, whatever a sampler does. Every worker runs this same loop; the same call starts, resumes and joins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from nasplat.errors import InvalidStudy
from nasplat.metric import Candidate, Workbench
from nasplat.search import SpaceExhausted
from nasplat.store import Outcome
from nasplat.study.evaluate import Memory, Objection, Pruned, evaluate
from nasplat.study.feasible import why_dropped
from nasplat.study.plan import SCORES, Plan
from nasplat.study.worker import Job, LeaseLost, Worker

MOST_DROPPED_IN_A_ROW = 1000
"""After so many architectures that break a bound or fail the filter, the study gives up and says so."""


class Watcher(Protocol):
    """Who looks on: the command line, a notebook or nobody."""

    def say(self, line: str) -> None:
        """One line of news."""

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Steps of a training."""

    def trial(self, done: int, total: int, line: str) -> None:
        """A trial has ended; `done` of `total` count so far."""


class Silence:
    """The watcher that looks away."""

    def say(self, line: str) -> None:
        pass

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        pass

    def trial(self, done: int, total: int, line: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: counted trials in all, seconds of this call, values that are good enough."""

    trials: int
    seconds: float | None = None
    target: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a call of the run loop did: why it ended, its new trials, and the states of all trials by now."""

    ended: str
    new: int
    states: Mapping[str, int]
    seconds: float

    @property
    def failed(self) -> int:
        return self.states.get("failed", 0)


@dataclass(slots=True)
class Loop:
    """One worker's run: the loop and the rules by which it ends."""

    worker: Worker
    plan: Plan
    bench: Workbench
    memory: Memory
    watcher: Watcher
    new: int = 0
    dropped: list[Outcome] = field(default_factory=list)  # in a row
    reached: bool = False

    def run(self, limits: Limits) -> RunSummary:
        """Work until a limit is reached, the space is exhausted, or other workers hold all that is left."""
        start = monotonic()
        self.worker.store.reap(self.worker.study_id)
        self.worker.refresh()
        if self.worker.trials:
            self.watcher.say(f"resuming: {self.worker.counted} of {limits.trials} trials are done")
        self.reached = any(
            self._meets(limits.target, t.values, t.constraints) for t in self.worker.trials.values()
        )
        while (ended := self._limit(limits, start)) is None:
            try:
                job = self.worker.ask(limits.trials)
            except SpaceExhausted as error:
                fruitless = "" if self.worker.counts["complete"] else ", none is complete; see nasplat status"
                ended = f"the space is exhausted: {error}{fruitless}"
                break
            if job is None:
                if self.worker.store.reap(self.worker.study_id):  # another worker has died meanwhile
                    continue
                ended = self._nothing_to_ask(limits)
                break
            self._work(job, limits)
        self.worker.refresh()
        return RunSummary(
            ended, self.new, {s: n for s, n in self.worker.counts.items() if n}, monotonic() - start
        )

    def _limit(self, limits: Limits, start: float) -> str | None:
        if limits.seconds is not None and monotonic() - start >= limits.seconds:
            return f"the time is up after {limits.seconds:g} s"
        if self.reached:
            return f"the target is reached: {dict(limits.target)}"
        if len(self.dropped) >= MOST_DROPPED_IN_A_ROW:
            return self._give_up()
        return None

    def _give_up(self) -> str:
        """Nothing gets through any more; a mistake in the page where nothing ever did."""
        why = why_dropped(self.dropped)
        if not self.worker.counts["complete"]:
            raise InvalidStudy(why)
        return why

    def _nothing_to_ask(self, limits: Limits) -> str:
        if self.worker.counted >= limits.trials:
            return f"all {limits.trials} trials are done"
        return "the last trials are in the hands of other workers"

    def _work(self, job: Job, limits: Limits) -> None:
        candidate = Candidate(
            job.arch,
            self.bench,
            report=lambda step, value: self._report(job, step, value),
            alive=lambda: self.worker.alive(job),
        )
        try:
            outcome = evaluate(candidate, self.plan, self.memory, self._objection(job))
        except LeaseLost:
            outcome = None
        except BaseException:
            self.worker.release(job)
            raise
        if outcome is not None and self.worker.tell(job, outcome):
            self._count(job, outcome, limits)
        else:
            self.watcher.say(
                f"trial {job.number} took too long without a sign of life; another worker has it now"
            )

    def _objection(self, job: Job) -> Objection:
        """The plan's objection in the light of earlier scores; none against what must be evaluated."""
        if job.must:
            return lambda values: None
        earlier = self.worker.noted(SCORES) if self.plan.filter else ()
        return lambda values: self.plan.objection(values, earlier)

    def _report(self, job: Job, step: int, value: float) -> None:
        """An intermediate value: a sign of life, and the pruner's chance."""
        self.worker.alive(job)
        job.intermediate[step] = value
        if self.worker.mirror.should_prune(job.number, job.intermediate):
            raise Pruned

    def _count(self, job: Job, outcome: Outcome, limits: Limits) -> None:
        dropped = outcome.state == "dropped"
        if dropped:
            self.dropped.append(outcome)
        else:
            self.dropped.clear()
        self.new += not dropped
        self.reached |= self._meets(limits.target, outcome.values, outcome.constraints)
        done = self.worker.counted + (not dropped)
        self.watcher.trial(done, limits.trials, self._line(job, outcome))

    def _meets(
        self, target: Mapping[str, float], values: Sequence[float] | None, constraints: Mapping[str, float]
    ) -> bool:
        """Whether a finished, feasible trial is at least as good as the target in every metric that it names."""
        if not target or values is None or any(v > 0 for v in constraints.values()):
            return False
        pairs = zip(self.plan.objectives, self.plan.directions, values, strict=True)
        return all(
            m.name not in target or (v >= target[m.name] if d == "maximize" else v <= target[m.name])
            for m, d, v in pairs
        )

    def _line(self, job: Job, outcome: Outcome) -> str:
        if outcome.values is None:
            last = (outcome.error or "").strip().splitlines()
            return f"trial {job.number} {outcome.state}: {last[-1] if last else ''}"
        named = zip(self.plan.objectives, outcome.values, strict=True)
        figures = "  ".join(f"{m.name} {v:.4g}{'' if m.unit == '1' else ' ' + m.unit}" for m, v in named)
        return f"trial {job.number}: {figures}"
