"""The command that scores networks without training them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasplat.cli.read import JsonOption
from nasplat.cli.text import print_table
from nasplat.errors import InvalidStudy
from nasplat.study import open_study

if TYPE_CHECKING:
    import pandas as pd

WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY|MODULE", help="A study, or a module as file.py:NAME or package.module:NAME."
    ),
]


def score(
    what: WhatArgument,
    scores: Annotated[str, typer.Option(help="Names with commas; all for every one.")] = "all",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Random architectures of a study's space; 100 unless given.")
    ] = None,
    trials: Annotated[bool, typer.Option("--trials", help="Those of the study's trials instead.")] = False,
    rank: Annotated[
        str | None, typer.Option(help="Order by an aggregate: log_rank, mean_rank or vote.")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, help="Inputs that each score sees.")] = 64,
    data: Annotated[str | None, typer.Option(help="For a module: the data set of its inputs.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="For a module without --data: the shape of an input; else 3x32x32.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="For a module without --data: its classes; else 10.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where networks are scored: cpu, cuda, cuda:1.")] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that score a study at once; on a GPU about as many as cores, else 1."),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Score untrained networks: architectures of a study's space, kept in its store, or one module."""
    names = [name.strip() for name in scores.split(",") if name.strip()]
    if ":" in what and not Path(what).exists():
        given = {"--samples": samples, "--trials": trials or None, "--workers": workers}
        _refuse(f"{what} is one module, not a study", given)
        if data is not None:
            _refuse(f"--data {data} gives the inputs", {"--shape": shape, "--classes": classes})
        from nasplat.study.module import Batch, score_module

        size = _shape(shape or "3x32x32")
        drawn = Batch(data, size, 10 if classes is None else classes, batch)
        frame = score_module(what, names, drawn, device)
        title = f"Scores of {what}"
    else:
        _refuse(f"{what} is a study, not a module", {"--data": data, "--shape": shape, "--classes": classes})
        if trials:
            _refuse("--trials names the architectures", {"--samples": samples})
        wanted = {"names": names, "samples": samples or 100, "of_trials": trials, "batch": batch}
        wanted |= {"device": device, "workers": 1 if workers is None else workers}
        frame, title = _of_study(Path(what), wanted, quiet=as_json or as_csv)
    if rank is not None:
        frame = _ranked(frame, rank, Path(what))
    if as_json:
        from nasplat.study.frames import as_objects

        typer.echo(json.dumps(as_objects(frame), indent=1))
    elif as_csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    else:
        print_table(frame, title, {})


def _refuse(why: str, options: Mapping[str, object]) -> None:
    """Raise InvalidStudy for options that are given although nothing would read them."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InvalidStudy(f"{why}: leave out {' and '.join(given)}")


def _of_study(place: Path, wanted: dict[str, Any], quiet: bool) -> tuple[pd.DataFrame, str]:
    """The table and its title; progress is shown unless the output is for a machine."""
    from nasplat.cli.progress import scoring

    study = open_study(place)
    with scoring(quiet) as watcher:
        frame = study.scores(**wanted, watcher=watcher)
    return frame, f"Scores in the space of {study.name!r}"


def _ranked(frame: pd.DataFrame, how: str, place: Path) -> pd.DataFrame:
    """The rows by an aggregate of all their scores, best first."""
    from nasplat.prediction import aggregate
    from nasplat.study.scores import directions

    if "arch_key" not in frame:
        raise InvalidStudy("--rank compares architectures: give it a study, not one module")
    names = [name for name in frame.columns if name not in ("arch_key", "name", "reasons")]
    found = directions(names, open_study(place).folder)
    return frame.assign(**{how: aggregate(frame, found, how)}).sort_values(how, ascending=False)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise InvalidStudy(f"--shape {text}: expected numbers joined by x, such as 3x32x32") from None
