"""The commands. Exit codes: 0 done, 1 a user's mistake, 2 usage, 3 finished with failed trials, 130 interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from nasplat.cli import fit, prune, read, scores, work, zoo

app = typer.Typer(
    name="nasplat",
    help="Search neural architectures, measure them on your device, export plain PyTorch networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; `main` takes --debug out of the arguments, so that it may stand anywhere."""


COMMANDS: dict[str, Callable[..., None]] = {
    "init": work.init,
    "profile": work.profile,
    "train": work.train,
    "run": work.run,
    "status": read.status,
    "front": read.front,
    "show": read.show,
    "score": scores.score,
    "export": work.export,
    "prune": prune.prune,
    "list": read.list_names,
    "doctor": work.doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(fit.app)
app.add_typer(zoo.app)
