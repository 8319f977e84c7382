"""Commands that read: status, front, show, list. None of them changes a study."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nasplat.cli.text import print_table, spelled
from nasplat.study import open_study

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="A study.toml or its folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Kind(StrEnum):
    """What can be listed."""

    SPACES = "spaces"
    PREDICTORS = "predictors"
    SAMPLERS = "samplers"
    METRICS = "metrics"
    METHODS = "methods"
    MIXTURES = "mixtures"
    PROBES = "probes"


def status(study: StudyArgument, as_json: JsonOption = False) -> None:
    """Say how far a study is: trials by state, who works on it, the best values, and why trials failed."""
    from nasplat.study.status import status_of

    found = status_of(open_study(study))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    reasons = found.pop("reasons")
    for key, value in found.items():
        typer.echo(f"{key:>12}  {spelled(value)}")
    for reason, times in reasons.items():
        typer.echo(f"{times:>12,}  {reason}")


def front(
    study: StudyArgument,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", help="Draw the front into this file (.png, .svg).")
    ] = None,
) -> None:
    """Print the Pareto front of a study, and draw it."""
    from nasplat.study.frames import as_objects

    opened = open_study(study)
    frame = opened.front()
    if as_json:
        typer.echo(json.dumps(as_objects(frame), indent=1))
    elif as_csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif frame.empty:
        kept = " that keeps all constraints" if opened.page.constraint else ""
        typer.echo(f"no finished trial yet{kept}")
    else:
        print_table(frame.drop(columns=["seconds"]), f"Pareto front of {opened.name!r}", opened.units)
    if output is not None:
        opened.plot_front(output)
        typer.echo(f"picture: {output}", err=as_json or as_csv)


def show(
    study: StudyArgument,
    trial: Annotated[str, typer.Argument(metavar="N", help="A trial's number, knee or best:METRIC.")],
    as_json: JsonOption = False,
    output: Annotated[Path | None, typer.Option("-o", help="Draw the network into this file (.svg).")] = None,
) -> None:
    """Show one trial: its architecture, its numbers with unit and origin, and its network as a picture."""
    chosen = open_study(study)[int(trial) if trial.isdigit() else trial]
    typer.echo(json.dumps(chosen.to_json(), indent=1) if as_json else str(chosen))
    if output is not None:
        chosen.draw(output)
        typer.echo(f"picture: {output}", err=as_json)


def list_names(kind: Kind, as_json: JsonOption = False) -> None:
    """List what a study file can name."""
    from nasplat.study.catalogue import catalogue

    rows = catalogue(kind.value)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    width = max(len(name) for name in rows)
    for name, line in rows.items():
        typer.echo(f"{name:<{width}}  {line}".rstrip())
