"""One trial, to look at."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from nasplat.errors import InvalidStudy
from nasplat.files import write_atomic
from nasplat.store import EvaluationRecord, TrialRecord
from nasplat.study.evidence import evidence
from nasplat.study.folder import StudyFolder


class Trial:
    """A trial with its architecture, its numbers and its network; rich in a notebook."""

    def __init__(self, study: StudyFolder, number: int) -> None:
        self._study = study
        self.number = number
        self._record = self._find()

    def _find(self) -> TrialRecord:
        found = [t for t in self._study.store.trials(self._study.record.id) if t.number == self.number]
        if not found:
            raise InvalidStudy(
                f"study {self._study.name!r} has no trial {self.number}; see: nasplat status {self._study.path}"
            )
        return found[0]

    @property
    def state(self) -> str:
        """waiting, running, complete, pruned, dropped or failed."""
        return self._record.state

    @property
    def arch(self) -> dict[str, Any]:
        """The active choices of the architecture."""
        return dict(self._record.arch or {})

    @property
    def key(self) -> str | None:
        """The architecture's canonical key."""
        return self._record.arch_key

    @property
    def values(self) -> dict[str, float]:
        """The objectives by name; empty unless the trial is complete."""
        return dict(zip(self._study.record.objectives, self._record.values or (), strict=False))

    @cached_property
    def evaluations(self) -> list[EvaluationRecord]:
        """Every number that the trial rests on, with unit, spread and origin."""
        space = self._study.record.space
        if space is None or self.key is None:
            return []
        found = self._study.store.evaluations(space.hash, [self.key], superseded=True)
        return evidence(found, self._study.page.metrics, self.values)

    def to_json(self) -> dict[str, Any]:
        """The trial as plain data."""
        return {
            "number": self.number,
            "state": self.state,
            "key": self.key,
            "arch": self.arch,
            "values": self.values,
            "constraints": dict(self._record.constraints),
            "reason": self._record.error,
            "evaluations": [_plain(e) for e in self.evaluations],
        }

    def svg(self) -> str:
        """The network as an SVG picture."""
        from nasplat.study.picture import picture

        return picture(self._study, self.arch, f"{self._study.name}, trial {self.number}")

    def draw(self, path: Path | str) -> None:
        """Write the picture to a file."""
        write_atomic(Path(path), self.svg())

    def __str__(self) -> str:
        lines = [f"trial {self.number} of {self._study.name!r}: {self.state}", f"  key  {self.key}"]
        lines += [f"  {name} = {value!r}" for name, value in self.arch.items()]
        lines += [f"  {_line(e)}" for e in self.evaluations]
        return "\n".join(lines + ([f"  {self._record.error.strip()}"] if self._record.error else []))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"{self.svg()}<pre>{escape(str(self))}</pre>"


def _plain(evaluation: EvaluationRecord) -> dict[str, Any]:
    return {
        "metric": evaluation.metric,
        "value": evaluation.value,
        "unit": evaluation.unit,
        "iqr": evaluation.spread,
        "n": evaluation.n,
        "noisy": evaluation.noisy,
        "status": evaluation.status,
        "reason": evaluation.reason,
        "origin": dict(evaluation.origin),
    }


def _line(evaluation: EvaluationRecord) -> str:
    """A number with its unit, spread and where it comes from."""
    unit = "" if evaluation.unit == "1" else f" {evaluation.unit}"
    value = evaluation.reason if evaluation.value is None else f"{evaluation.value:,.6g}{unit}"
    spread = (
        f" (IQR {evaluation.spread:.2g}{unit}, n = {evaluation.n})" if evaluation.spread is not None else ""
    )
    machine = evaluation.origin.get("machine", {}).get("name")
    place = f" on {machine}" if machine else f", {evaluation.origin.get('protocol', '')}"
    return f"{evaluation.metric}: {value}{spread}{place}{', NOISY' if evaluation.noisy else ''}"
