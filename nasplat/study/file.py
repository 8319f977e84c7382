"""The study file: one flat page of TOML, checked before anything runs.

Keys that this page does not know are errors. Tables that stand for a plug-in (`[data]`, `[space]`,
`[supernet]`, `[sampler]`, `[pruner]`, `[[objective]]`, `[[constraint]]`) take further keys: the arguments of
that plug-in, checked against its signature when it is loaded.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from nasplat.errors import InvalidStudy, expected_one_of

_DURATION = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")


def parse_duration(text: object) -> float:
    """Seconds of "2h", "1h30m", "90s" or a plain number of seconds.

    >>> parse_duration("1h30m")
    5400.0
    """
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    match = _DURATION.match(text) if isinstance(text, str) and text else None
    seconds = (
        sum(int(n or 0) * unit for n, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True))
        if match
        else 0
    )
    if seconds <= 0:
        raise ValueError(f"{text!r} is no duration; write it like '90s', '15m' or '2h30m'")
    return float(seconds)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _PlugIn(_Table):
    """A table whose remaining keys are the arguments of what it names."""

    model_config = ConfigDict(extra="allow")

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class StudyTable(_Table):
    """[study]: its name, where results go, and when it ends."""

    name: Annotated[str, Field(min_length=1)]
    store: str = "sqlite:///study.db"
    trials: Annotated[int, Field(gt=0)] = 100
    timeout: Annotated[float, BeforeValidator(parse_duration)] | None = None
    target: dict[str, float] = {}
    seed: Annotated[int, Field(ge=0)] = 0


class Named(_PlugIn):
    """[data], [space], [sampler], [pruner]: a name and its arguments."""

    name: str


class Supernet(_PlugIn):
    """[supernet]: the training method and its arguments, a recipe.

    `seed` is the study's unless it is given here, so that studies of several seeds can share a supernet.
    `start` is a file of weights to begin with, of a supernet or of its largest network.
    `mixture` is a table that says how the architectures share weights: its `kind`, and that kind's arguments.
    `calibration_batches` batches of 64 inputs recalibrate the norms of a subnet; with 0 it is judged by the running
    statistics that all subnets share. `execution` and `compile` say how the training runs, `probes` what is looked at
    after every `probe_every` epochs.
    """

    method: str = "sandwich"
    seed: Annotated[int, Field(ge=0)] | None = None
    start: str | None = None
    mixture: dict[str, Any] | None = None
    calibration_batches: Annotated[int, Field(ge=0)] = 8
    execution: Literal["slice", "mask", "vmap"] = "slice"
    compile: bool = False
    probes: list[str] = []
    probe_every: Annotated[int, Field(gt=0)] = 1

    @field_validator("mixture", mode="before")
    @classmethod
    def _is_a_table(cls, mixture: object) -> object:
        if isinstance(mixture, dict):
            return mixture
        raise ValueError("expected a table; write {kind = ...}, with a kind of `nasplat list mixtures`")


class Objective(_PlugIn):
    """[[objective]]: a metric to optimise; its direction may be left out where the metric has one."""

    metric: str
    direction: Literal["maximize", "minimize"] | None = None


class Constraint(_PlugIn):
    """[[constraint]]: a bound on a metric that every reported architecture keeps."""

    metric: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Constraint:
        if self.min is None and self.max is None:
            raise ValueError(f"a constraint on {self.metric!r} needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}; no architecture can meet both")
        return self


class Filter(_Table):
    """[filter]: the share of architectures, best by zero-cost scores, that reaches the costly metrics."""

    scores: Annotated[list[str], Field(min_length=1)]
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5


class StudyFile(_Table):
    """The whole page."""

    study: StudyTable
    data: Named | None = None
    space: Named
    supernet: Supernet | None = None
    sampler: Named = Named(name="nsga2")
    pruner: Named | None = None
    objective: Annotated[list[Objective], Field(min_length=1)]
    constraint: list[Constraint] = []
    filter: Filter | None = None

    @property
    def metrics(self) -> set[str]:
        """The names of all metrics that the page asks for."""
        scores = self.filter.scores if self.filter else ()
        return {
            *(o.metric for o in self.objective),
            *(c.metric for c in self.constraint),
            *(f"score:{s}" for s in scores),
        }

    @model_validator(mode="after")
    def _fits_together(self) -> StudyFile:
        metrics = [o.metric for o in self.objective]
        if len(set(metrics)) < len(metrics):
            raise ValueError(
                f"two [[objective]] tables ask for the same metric: {', '.join(metrics)}; keep one"
            )
        if self.supernet and not self.data:
            raise ValueError("[supernet] needs data to train on; add a [data] table")
        if self.pruner and len(metrics) > 1:
            raise ValueError("[pruner] works with one [[objective]] only, as in Optuna; remove it")
        unknown = set(self.study.target) - set(metrics)
        if unknown:
            raise ValueError(
                f"target {min(unknown)!r} is no objective; {expected_one_of(min(unknown), metrics)}"
            )
        return self


def study_path(place: Path | str) -> Path:
    """The study file that a path to it, or to its folder, stands for."""
    path = Path(place)
    if path.is_dir():
        path = path / "study.toml"
    if not path.is_file():
        folder = path.parent if path.suffix == ".toml" else path
        raise InvalidStudy(f"no study file at {path}; make one with: nasplat init {folder}")
    return path


def read_study_file(place: Path | str) -> StudyFile:
    """The checked page of a study; raises InvalidStudy in one line."""
    path = study_path(place)
    try:
        page = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidStudy(f"{path} is not TOML: {error}") from None
    try:
        return StudyFile.model_validate(page)
    except ValidationError as error:
        raise InvalidStudy(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first problem in the words of the page: table, key, what came and what was expected."""
    problem = error.errors()[0]
    location = [part for part in problem["loc"] if part != "function-before[parse_duration(), float]"]
    table, key = _place(location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location)
        owner = f"{table} has no key" if table else "the page has no table"
        return f"{owner} {key!r}; {expected_one_of(key, known)}"
    if problem["type"] == "missing":
        return f"{table} needs {key!r}; add it" if table else f"the table [{key}] is missing; add it"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not key:
        return f"{table}: {message}" if table else message
    return f"{table} {key} = {problem['input']!r}: {message}".strip()


def _place(location: list[int | str]) -> tuple[str, str]:
    """The table and the key of a location such as ("objective", 0, "metric")."""
    if not location:
        return "", ""
    if len(location) == 1:
        return "", str(location[0])
    if isinstance(location[1], int):
        return f"[[{location[0]}]] number {location[1] + 1}", ".".join(map(str, location[2:]))
    return f"[{location[0]}]", ".".join(map(str, location[1:]))


def _known_keys(location: list[int | str]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {"study": StudyTable, "filter": Filter}
    model = tables.get(str(location[0]), StudyFile) if len(location) > 1 else StudyFile
    return list(model.model_fields)
