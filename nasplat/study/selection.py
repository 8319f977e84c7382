"""Which trial a person means."""

from __future__ import annotations

import pandas as pd

from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.store import StudyRecord


def select(frame: pd.DataFrame, study: StudyRecord, which: str | int) -> int:
    """The number of a complete trial: itself, "knee" of the front, or "best:METRIC"."""
    if isinstance(which, int) or which.isdigit():
        return _complete(frame, int(which))
    if not frame["on_front"].any():
        raise InvalidStudy(
            f"study {study.name!r} has no complete trial that keeps its constraints; run it first"
        )
    if which == "knee":
        return int(frame.loc[frame["knee"], "number"].iloc[0])
    kind, _, metric = which.partition(":")
    if kind != "best" or not metric:
        raise InvalidStudy(f"cannot select {which!r}; say a trial's number, 'knee' or 'best:METRIC'")
    if metric not in study.objectives:
        raise InvalidStudy(f"{metric!r} is no objective; {expected_one_of(metric, study.objectives)}")
    front = frame[frame["on_front"]]
    values = front[metric].to_numpy(dtype=float)
    largest = study.directions[list(study.objectives).index(metric)] == "maximize"
    return int(front["number"].iloc[int(values.argmax() if largest else values.argmin())])


def _complete(frame: pd.DataFrame, number: int) -> int:
    found = frame[frame["number"] == number]
    if found.empty:
        raise InvalidStudy(f"there is no trial {number}; numbers go from 0 to {len(frame) - 1}")
    state, reason = found["state"].iloc[0], found["reason"].iloc[0]
    if state != "complete":
        raise InvalidStudy(
            f"trial {number} is {state}{f' ({reason})' if reason else ''}; choose a complete one"
        )
    return number
