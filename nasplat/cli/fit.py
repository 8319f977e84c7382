"""Commands that learn from what studies have measured."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nasplat.cli.read import JsonOption, StudyArgument
from nasplat.cli.text import arguments_of, spelled
from nasplat.cli.work import DeviceOption
from nasplat.study import open_study

app = typer.Typer(
    name="fit", help="Learn from measured architectures.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def fit() -> None:
    """Learn from measured architectures."""


@app.command()
def predictor(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.")],
    metric: Annotated[str, typer.Option(help="What it is to predict: one of the study's metrics.")],
    name: Annotated[
        str | None, typer.Option("--predictor", help="See `nasplat list predictors`; blend unless given.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Its arguments as JSON.")] = "{}",
    scores: Annotated[
        str | None, typer.Option(help="Scores that it reads, with commas; all for every one.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=2, help="Inputs that each score sees, where it reads scores.")
    ] = 64,
    pool: Annotated[
        str | None, typer.Option(help="For latency_transfer: the folder or name of a pool of known devices.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a predictor on a study's finished architectures; a page names it as metric = "predicted:DIR"."""
    from dataclasses import asdict

    from nasplat.cli.progress import scoring
    from nasplat.study.fit import Order, fit_predictor
    from nasplat.study.scores import score_names

    read = None if scores is None else tuple(score_names([part.strip() for part in scores.split(",")]))
    name = name or ("blend" if pool is None else "latency_transfer")
    order = Order(name, metric, arguments_of(arguments, '{"trees": 100}'), read, batch, pool=pool)
    with scoring(quiet=as_json) as watcher:
        card = fit_predictor(open_study(study), order, output, watcher)
    if as_json:
        typer.echo(json.dumps(asdict(card), indent=1))
        return
    typer.echo(f"fitted {name} on {card.labels} architectures: {output}")
    for figure, value in card.figures.items():
        typer.echo(f"  {figure:<12} {spelled(value)}  (5-fold cross-validation)")
    typer.echo(f'in a study file: metric = "predicted:{output}"')


@app.command()
def pool(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.")],
    table: Annotated[
        str, typer.Option(help="A published table, or a CSV or Parquet file with a key column.")
    ],
    devices: Annotated[
        str, typer.Option(help="Its columns of latencies, with commas; * stands for any text.")
    ],
    key: Annotated[str | None, typer.Option(help="The key column of a file.")] = None,
    labels: Annotated[int, typer.Option(min=2, help="Rows of each device to learn from, at most.")] = 900,
    arguments: Annotated[str, typer.Option(help="Of the predictor latency_transfer, as JSON.")] = "{}",
    as_json: JsonOption = False,
) -> None:
    """Learn known devices of a study's space from a table: a pool from which ten samples tell a new one."""
    from dataclasses import asdict

    from nasplat.study.pool import PoolOrder, fit_pool

    wanted = tuple(part.strip() for part in devices.split(",") if part.strip())
    order = PoolOrder(table, wanted, key, labels, arguments_of(arguments, '{"trees": 100}'))
    card = fit_pool(open_study(study), order, output)
    if as_json:
        typer.echo(json.dumps(asdict(card), indent=1))
        return
    typer.echo(f"learned {card.figures['devices']:.0f} devices from {card.labels:,} latencies: {output}")
    if "spearman_10" in card.figures:
        typer.echo(
            f"  spearman_10  {spelled(card.figures['spearman_10'])}  (a device by ten samples and the others)"
        )
    typer.echo(f"next: nasplat fit predictor STUDY --metric latency --pool {output} -o DIR")


@app.command()
def blocks(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write to.")],
    networks: Annotated[int, typer.Option(min=2, help="Random architectures that are summed up.")] = 200,
    check: Annotated[int, typer.Option(min=0, help="Those that are also measured whole.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Inputs that run at once.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch on the CPU.")] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the operations of a study's space on a device, and make a table of what each choice costs."""
    from dataclasses import asdict

    from nasplat.study.blocks import BlocksOrder, fit_blocks

    card = fit_blocks(open_study(study), BlocksOrder(networks, check, batch, threads, device), output)
    if as_json:
        typer.echo(json.dumps(asdict(card), indent=1))
        return
    typer.echo(f"measured {card.figures['operations']:.0f} operations on {card.device}: {output}")
    for figure, value in card.figures.items():
        typer.echo(f"  {figure:<20} {spelled(value)}")
    typer.echo(f'in a study file: metric = "predicted:{output}"')


@app.command()
def metanet(
    page: Annotated[Path, typer.Argument(metavar="PAGE", help="A page with [data], [models] and [metanet].")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The folder to write to; the page's name unless given."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where it and its data models are trained: cpu, cuda, cuda:1.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Train a metanetwork that prunes, on networks that are trained for it or given; run again to resume."""
    from nasplat.cli.progress import watching
    from nasplat.study.pruning.fit import fit_metanet
    from nasplat.study.pruning.page import read_page

    try:
        with nullcontext() if as_json else watching("metanetwork") as watcher:
            fitted = fit_metanet(read_page(page), output, device, watcher)
    except KeyboardInterrupt:
        typer.echo(
            "interrupted; trained networks and whole epochs are kept. go on with the same command", err=True
        )
        raise typer.Exit(130) from None
    card = fitted.pruner.card
    if as_json:
        typer.echo(json.dumps(card.as_json(), indent=1))
        return
    typer.echo(f"learned from {card.networks} networks, {card.held_out} held out: {fitted.folder}")
    typer.echo(
        f"  {card.judged_by}: {spelled(card.value)} in epoch {card.chosen}, as they were {spelled(card.untouched)}"
    )
    trained = sum(epoch.seconds for epoch in card.epochs)
    typer.echo(
        f"  cost: {trained:.0f} s of meta-training, {fitted.models_seconds:.0f} s for networks in this call"
    )
    typer.echo(f"next: nasplat prune MODEL --metanet {fitted.folder} --speedup 2 -o DIR")
