"""Commands that do something: init, profile, run, export, doctor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nasplat.cli.read import JsonOption, StudyArgument
from nasplat.cli.text import spelled
from nasplat.errors import InvalidStudy, TrainingError
from nasplat.study import open_study

DeviceOption = Annotated[
    str | None, typer.Option(help="Where networks are trained and measured: cpu, cuda, cuda:1 or auto.")
]


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")]) -> None:
    """Write a study to start from: study.toml and space.py."""
    from nasplat.study.template import write_template

    written = write_template(folder)
    typer.echo("wrote " + ", ".join(str(path) for path in written))
    typer.echo(f"next: nasplat profile {folder}")


def profile(
    study: StudyArgument,
    samples: Annotated[int, typer.Option(min=1, help="Architectures to sample.")] = 100,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what to expect: sizes and latency over the space, constraints that can be met, time."""
    found = open_study(study).profile(samples, device)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for title, rows in found.items():
        typer.echo(f"{title}")
        for key, value in rows.items() if isinstance(rows, dict) else {"": rows}.items():
            typer.echo(f"  {key:<24} {spelled(value)}")
    typer.echo(f"next: nasplat run {study}")


def train(study: StudyArgument, device: DeviceOption = None) -> None:
    """Train a study's supernet alone; run again to resume, or by torchrun to train in several processes."""
    from nasplat.cli.progress import watching
    from nasplat.cli.text import print_table

    opened = open_study(study)
    try:
        with watching() as watcher:
            trained = opened.train(device=device, watcher=watcher)
    except KeyboardInterrupt:
        if _leads():
            typer.echo(f"interrupted; nothing is lost. go on with: nasplat train {study}", err=True)
        raise typer.Exit(130) from None
    except TrainingError:  # all processes meet it, and one tells
        if _leads():
            raise
        raise typer.Exit(1) from None
    if trained is None:  # one of several processes; the first one speaks
        return
    typer.echo(f"{'weights' if trained.fresh else 'trained already'}: {trained.path}")
    print_table(trained.subnets, "Subnets, validation split", {})
    typer.echo(f"next: nasplat run {study}")


def run(
    study: StudyArgument,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, in place of the page's.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Stop after this time, such as 90s or 2h.")] = None,
    device: DeviceOption = None,
    enqueue: Annotated[
        Path | None, typer.Option(help="A JSON file with an architecture, or a list, that must be evaluated.")
    ] = None,
) -> None:
    """Start a study; run again to resume, or in another shell to add a worker."""
    from nasplat.cli.progress import watching
    from nasplat.study.file import parse_duration

    opened = open_study(study)
    try:
        seconds = None if timeout is None else parse_duration(timeout)
    except ValueError as error:
        raise InvalidStudy(f"--timeout: {error}") from None
    architectures = _architectures(enqueue)
    for number in opened.enqueue(*architectures, device=device) if architectures else ():
        typer.echo("already in the study" if number is None else f"enqueued as trial {number}")
    try:
        with watching() as watcher:
            summary = opened.run(trials, timeout=seconds, device=device, watcher=watcher)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; nothing is lost. go on with: nasplat run {study}", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{opened.name}: {summary.ended} ({spelled(summary.states)}) in {summary.seconds:.1f} s")
    typer.echo(f"next: nasplat front {study}")
    if summary.failed:
        raise typer.Exit(3)


def export(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.")],
    select: Annotated[str, typer.Option(help="A trial's number, knee or best:METRIC.")] = "knee",
    formats: Annotated[
        str, typer.Option("--format", help="state, pt2, onnx; several with commas.")
    ] = "state",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another bundle there.")] = False,
) -> None:
    """Write the network of a trial as files that load without nasplat, each verified in a fresh process."""
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    bundle = open_study(study).export(select, output, wanted, overwrite=overwrite)
    typer.echo(f"{'exported' if bundle.fresh else 'already exported'}: {bundle.folder}")
    for name, drift in bundle.drift.items():
        typer.echo(f"  {name:<6} largest difference after reloading {drift:.1e}")
    typer.echo(f"how to load it: {bundle.folder / 'README.md'}")


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine: versions, extras, devices, writing, and a search that takes seconds."""
    from nasplat.study.checkup import checkup

    found = checkup()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for name, verdict in found.items():
            typer.echo(f"{name:<18} {verdict}")
    if any(str(verdict).startswith("broken") for verdict in found.values()):
        raise typer.Exit(1)


def _leads() -> bool:
    """Whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _architectures(path: Path | None) -> list[dict[str, object]]:
    if path is None:
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidStudy(f"--enqueue {path}: {error}; expected a JSON file with an architecture") from None
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(values, dict) for values in listed):
        raise InvalidStudy(f"--enqueue {path}: expected an object of choices, or a list of such objects")
    return listed
