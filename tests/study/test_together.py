"""Work that processes share: every job once, what was done is kept, what goes wrong is one line."""

from __future__ import annotations

import math
import operator
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from nasplat.errors import NasplatError
from nasplat.study.together import together

INVERSE: Any = partial(partial, operator.truediv, 1.0)  # called in a worker, it gives the function 1 / x


def test_each_job_is_done_once_whoever_is_first() -> None:
    found = list(together(INVERSE, range(1, 30), workers=2))
    assert sorted(found) == [(x, 1 / x) for x in range(1, 30)]


def test_nobody_is_asked_where_there_is_nothing_to_do() -> None:
    assert list(together(INVERSE, [], workers=2)) == []


def test_jobs_are_read_as_workers_come_free() -> None:
    read: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(1, 100):
            read.append(job)
            yield job

    with closing(together(INVERSE, jobs(), workers=2)) as answers:
        next(answers)
    assert len(read) <= 4


def test_a_mistake_is_one_line_after_what_was_done() -> None:
    done: list[tuple[int, float]] = []
    with pytest.raises(NasplatError) as caught:
        done.extend(together(INVERSE, [1, 2, 4, 0, 5], workers=1))
    assert done == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert str(caught.value).startswith("ZeroDivisionError: ")
    assert len(str(caught.value).splitlines()) == 1
    assert "Traceback" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("death", "job", "line"),
    [
        (os._exit, 3, "a worker process ended with exit code 3; what was done is kept"),
        (
            signal.raise_signal,
            signal.SIGKILL,
            "a worker process was killed by SIGKILL; what was done is kept",
        ),
    ],
)
def test_a_worker_that_dies_is_one_line(death: Any, job: int, line: str) -> None:
    with pytest.raises(NasplatError, match=line):
        list(together(partial(partial, death), [job], workers=1))


def test_a_worker_that_cannot_begin_says_why() -> None:
    prepare: Any = partial(math.sqrt, -1.0)
    with pytest.raises(NasplatError, match=r"^ValueError: "):
        list(together(prepare, [1], workers=1))
