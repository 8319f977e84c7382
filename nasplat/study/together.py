"""Work that several processes do together: each takes the next piece as soon as it is done with one."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from nasplat.errors import NasplatError

Job = TypeVar("Job")
Result = TypeVar("Result")
Prepare = Callable[[], Callable[[Job], Result]]
"""Called once in each process; gives the function that does a job."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What went wrong in a worker: one line, and its traceback."""

    line: str
    trace: str


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


def together(
    prepare: Prepare[Job, Result], jobs: Iterable[Job], workers: int
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in the order in which they are done by `workers` fresh processes.

    `prepare`, jobs and results must be things that pickle can carry. `jobs` is read as workers come free, and where
    there are fewer of them, fewer processes start. Processes end with the iterator, and when the one that asked is
    killed. Raises NasplatError for what a worker raises, and for a worker that dies; whatever was done by then comes
    first. A script must call this below `if __name__ == "__main__":`, because each process imports it again.
    """
    queue = iter(jobs)
    first = list(islice(queue, workers))
    with _crew(prepare, len(first)) as crew:
        busy = dict(zip((worker.pipe for worker in crew), zip(crew, first, strict=True), strict=True))
        for worker, job in busy.values():
            _give(worker, job)
        problem = None
        while busy and problem is None:
            for pipe in wait(list(busy)):
                worker, job = busy.pop(pipe)  # type: ignore[call-overload]
                answer = _answer(worker)
                if isinstance(answer, NasplatError):
                    problem = answer
                    continue
                for following in islice(queue, 1):  # before the caller sees to the result
                    busy[worker.pipe] = worker, following
                    _give(worker, following)
                yield job, answer
        if problem is not None:
            raise problem


@contextmanager
def _crew(prepare: Prepare[Any, Any], size: int) -> Iterator[list[_Worker]]:
    """Fresh processes, which keep nothing and so may be ended as they stand."""
    crew: list[_Worker] = []
    try:
        with _without_interrupts():
            crew.extend(_hire(prepare) for _ in range(size))
        yield crew
    finally:
        for worker in crew:
            worker.process.terminate()
        for worker in crew:
            worker.process.join()
            worker.pipe.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits; processes that start meanwhile never hear of it: who started them decides what it means."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hire(prepare: Prepare[Any, Any]) -> _Worker:
    context = get_context("spawn")  # a fork would carry threads and the device's state along
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(prepare, there), daemon=True)
    process.start()
    there.close()  # the worker has the only other end: its death shows here
    return _Worker(process, here)


def _give(worker: _Worker, job: object) -> None:
    with suppress(OSError):  # it is dead already, and its answer will say so
        worker.pipe.send(job)


def _answer(worker: _Worker) -> Any:
    """What a worker sends; a NasplatError for what it could not do, and for its death."""
    try:
        answer = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        return NasplatError(_obituary(worker.process.exitcode or 0))
    if not isinstance(answer, _Failure):
        return answer
    error = NasplatError(answer.line)
    error.add_note(answer.trace)
    return error


def _obituary(code: int) -> str:
    if code < 0:
        return (
            f"a worker process was killed by {signal.Signals(-code).name}; what was done is kept: "
            "go on with fewer workers if memory is short"
        )
    return (
        f"a worker process ended with exit code {code}; what was done is kept. "
        'a script starts workers below if __name__ == "__main__":'
    )


def _work(prepare: Prepare[Any, Any], pipe: Connection) -> None:
    """A worker's life: jobs until nobody asks any more."""
    do: Callable[[Any], Any] | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = pipe.recv()
            try:
                do = do or prepare()
                answer = do(job)
            except Exception as error:
                kind = "" if isinstance(error, NasplatError) else f"{type(error).__name__}: "
                answer = _Failure(kind + " ".join(str(error).split()), traceback.format_exc())
            pipe.send(answer)
