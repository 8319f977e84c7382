"""Commands that train many small networks at once, and show what a zoo holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasplat.cli.read import JsonOption
from nasplat.cli.text import arguments_of, print_table, spelled
from nasplat.errors import InvalidStudy

if TYPE_CHECKING:
    from nasplat.zoo import Zoo
    from nasplat.zoo.run import Settings, Watch
    from nasplat.zoo.samples import Embed

app = typer.Typer(
    name="zoo",
    help="Many small trained networks in one file, to learn from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="A data set by name, or as module:function.")
]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="The folder to write to, or to go on in.")]
CountOption = Annotated[int, typer.Option(min=1, help="How many networks.")]
SeedOption = Annotated[int, typer.Option(min=0, help="What everything random is drawn from.")]
ArgumentsOption = Annotated[str, typer.Option(help="Arguments of the data set as JSON.")]
DeviceOption = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1 or auto.")]


LIKENESS = (
    "network",
    "distance",
    "family",
    "width",
    "depth",
    "activation",
    "test_accuracy",
    "image",
    "label",
    "file",
)
"""What is shown of networks that are alike, where a zoo has it."""


@app.callback()
def zoo() -> None:
    """Many small trained networks in one file, to learn from."""


@app.command()
def train(
    data: DataArgument,
    output: OutputOption,
    count: CountOption = 3000,
    families: Annotated[
        str, typer.Option(help="Of plain, norm, residual, depthwise, attention, mlp.")
    ] = "plain,norm,residual,depthwise,attention",
    steps: Annotated[str, typer.Option(help="The least and the most updates of a network.")] = "40-400",
    seed: SeedOption = 0,
    arguments: ArgumentsOption = "{}",
    device: DeviceOption = "cpu",
) -> None:
    """Train image classifiers of several families, each with a recipe of its own; run again to resume."""
    from nasplat.zoo import Classifiers

    names = tuple(name.strip() for name in families.split(",") if name.strip())
    settings = Classifiers(count, names, seed, steps=_range(steps))
    _train(settings, (data, arguments), output, device)


@app.command()
def sirens(
    data: DataArgument,
    output: OutputOption,
    count: CountOption = 2000,
    steps: Annotated[int, typer.Option(min=1, help="Updates of each network.")] = 200,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 1e-3,
    width: Annotated[int, typer.Option(min=1, help="Neurons of a hidden layer.")] = 32,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden layers.")] = 2,
    frequency: Annotated[float, typer.Option(help="What the sines multiply their argument by.")] = 30.0,
    seed: SeedOption = 0,
    arguments: ArgumentsOption = "{}",
    device: DeviceOption = "cpu",
) -> None:
    """Fit a SIREN, from the place of a pixel to its intensity, to each of many images; run again to resume."""
    from nasplat.zoo import SirenForm, Sirens

    form = SirenForm(width, hidden, frequency)
    settings = Sirens(count, seed, steps=steps, learning_rate=rate, form=form)
    _train(settings, (data, arguments), output, device)


@app.command()
def like(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A zoo.")],
    number: Annotated[
        int, typer.Argument(min=0, metavar="N", help="The network, by its place in the table.")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    predictor: Annotated[
        str | None,
        typer.Option(help="A trained predictor of weights whose codes are compared; a folder or name."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which networks of a zoo are most like one of them, by statistics of their weights or a predictor's codes."""
    from nasplat.zoo import alike, open_zoo

    zoo = open_zoo(folder)
    if number >= len(zoo):
        raise InvalidStudy(f"network {number} of a zoo of {len(zoo)}: choose 0 to {len(zoo) - 1}")
    found = alike(zoo, number, count, _embed(predictor))
    if as_json:
        typer.echo(found.to_json(orient="records"))
    else:
        shown = [name for name in LIKENESS if name in found]
        print_table(found[shown], "", {})


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A zoo, or a folder of state dicts.")],
    module: Annotated[
        str | None,
        typer.Option(
            help="For state dicts: what makes their module, as file.py:NAME or package.module:NAME."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="For state dicts: a CSV file of facts; table.csv of DIR unless given.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row for each network as CSV.")] = False,
) -> None:
    """Say what a zoo holds: networks by family, how well they do, and which members cannot be read."""
    from nasplat.zoo import open_zoo, read_zoo

    if module is None and table is not None:
        raise InvalidStudy("--table goes with --module: a zoo has its own table")
    found = open_zoo(folder) if module is None else read_zoo(folder, module, table)
    if as_json:
        typer.echo(json.dumps(_described(found), indent=1))
    elif as_csv:
        typer.echo(found.table.to_csv(index=False), nl=False)
    else:
        _print(found, str(folder))


def _embed(name: str | None) -> Embed | None:
    """The codes of a trained predictor; None for none."""
    from nasplat.prediction.card import find_trained, load_predictor

    if name is None:
        return None
    predictor, card = load_predictor(find_trained(name))
    embed: Embed | None = getattr(predictor, "embed", None)
    if embed is None:
        raise InvalidStudy(
            f"{name} is a {card.plug_in}, which has no codes of weights: take one such as metanet"
        )
    return embed


def _train(settings: Settings, named: tuple[str, str], output: Path, device: str) -> None:
    from nasplat.data import load_data
    from nasplat.zoo import train_zoo

    data = load_data(named[0], base=Path(), **arguments_of(named[1], '{"limit": 2000}'))
    try:
        with _watching() as watch:
            zoo = train_zoo(settings, data, output, device=device, watch=watch)
    except KeyboardInterrupt:
        typer.echo("interrupted; finished groups are kept. go on with the same command", err=True)
        raise typer.Exit(130) from None
    _print(zoo, str(output))
    typer.echo(f"table: {output / 'results.csv'}")


def _described(zoo: Zoo) -> dict[str, Any]:
    """A zoo as plain JSON."""
    from nasplat.study.frames import as_objects

    skipped = [{"name": s.name, "reason": s.reason} for s in zoo.skipped]
    families = as_objects(zoo.summary())
    return {"networks": len(zoo), "families": families, "skipped": skipped, "origin": dict(zoo.origin)}


def _print(zoo: Zoo, title: str) -> None:
    wanted = zoo.origin.get("settings", {}).get("count", len(zoo))
    typer.echo(f"{title}: {spelled(len(zoo))} of {spelled(wanted)} networks")
    print_table(zoo.summary(), "", {})
    for member in zoo.skipped:
        typer.echo(f"skipped {member.name}: {member.reason}")


@contextmanager
def _watching() -> Iterator[Watch]:
    """A bar in a terminal, a line every ten seconds elsewhere; both with rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, pace = Console(), Pace()
    if not console.is_terminal:
        yield lambda done, total, name: _line(pace, done, total)
        return
    columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("")

        def watch(done: int, total: int, name: str) -> None:
            progress.update(task, completed=done, total=total, description=f"{pace.rate(done):.1f}/s  {name}")

        yield watch


class Pace:
    """How fast a long job goes, counted from where it began."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None
        self.next = 0.0

    def rate(self, done: int) -> float:
        """Networks a second since the first call; 0 at the first call."""
        if self._begun is None:
            self._begun = monotonic(), done
        since, before = self._begun
        return (done - before) / max(monotonic() - since, 1e-9)


def _line(pace: Pace, done: int, total: int) -> None:
    rate = pace.rate(done)
    if monotonic() >= pace.next or done == total:
        pace.next = monotonic() + 10
        left = f"  {rate:.1f}/s  {(total - done) / rate:.0f} s left" if rate else ""
        typer.echo(f"{done}/{total} networks{left}")


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise InvalidStudy(f"--steps {text}: expected one or two whole numbers, such as 40-400") from None
