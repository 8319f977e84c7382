"""What a person sees while a study runs: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from time import monotonic

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nasplat.study import Watcher


@contextmanager
def watching(trials: str = "search") -> Iterator[Watcher]:
    """The watcher that fits the place where the command runs; `trials` names the bar of these."""
    console = Console()
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress, trials)


@contextmanager
def scoring(quiet: bool) -> Iterator[Watcher | None]:
    """The watcher of scores, none where the output is for a machine; Ctrl-C ends the command in one line."""
    try:
        with nullcontext() if quiet else watching("scores") as watcher:
            yield watcher
    except KeyboardInterrupt:
        typer.echo("interrupted; what was scored is kept. go on with the same command", err=True)
        raise typer.Exit(130) from None


class Bars:
    """Bars with the time that is left; news above them."""

    def __init__(self, progress: Progress, trials: str) -> None:
        self._progress, self._trials = progress, trials
        self._tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False)

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        self._show("training", done, total, _spelled(figures))

    def trial(self, done: int, total: int, line: str) -> None:
        self._show(self._trials, done, total, line)

    def _show(self, name: str, done: int, total: int, figures: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, figures="")
        self._progress.update(self._tasks[name], completed=done, total=total, figures=figures)


class Lines:
    """A line every ten seconds of training and for every trial, for logs."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = every
        self._next = 0.0

    def say(self, line: str) -> None:
        typer.echo(line)

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if monotonic() >= self._next or done == total:
            self._next = monotonic() + self._every
            typer.echo(f"training {done}/{total} steps  {_spelled(figures)}")

    def trial(self, done: int, total: int, line: str) -> None:
        typer.echo(f"{done}/{total}  {line}")


def _spelled(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
