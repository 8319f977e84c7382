"""The command that makes a trained network smaller."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasplat.cli.read import JsonOption
from nasplat.cli.text import arguments_of, print_table, spelled
from nasplat.errors import InvalidStudy

if TYPE_CHECKING:
    import pandas as pd

    from nasplat.study.pruning import Delivery, Pruned, PruneOrder

Text = str | None
COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
UNIT = {"macs": "MACs", "params": "parameters", "latency": "latency (ms)"}
MILLISECONDS = {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3}


def prune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A bundle, a .pt2 file, or a module as file.py:NAME or package.module:NAME."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder of the bundle to write.")
    ] = None,
    speedup: Annotated[float | None, typer.Option(help="Target: MACs before over after.")] = None,
    max_macs: Annotated[Text, typer.Option(help="Target: MACs that are left, such as 20M.")] = None,
    max_params: Annotated[Text, typer.Option(help="Target: parameters that are left, such as 100k.")] = None,
    max_latency: Annotated[
        Text, typer.Option(help="Target: latency measured on the device, such as 3ms.")
    ] = None,
    keep: Annotated[
        Text, typer.Option(help="Target: the share of each group that stays; or GROUP=SHARE,...")
    ] = None,
    score: Annotated[
        Text,
        typer.Option(help="What channels are judged by: l2, l1, bn_scale, taylor, ...; l2 unless given."),
    ] = None,
    metanet: Annotated[
        Text, typer.Option(help="A trained metanetwork that judges them instead: a folder or name.")
    ] = None,
    rewrite: Annotated[
        int | None,
        typer.Option(min=0, help="Let it rewrite the network, and finetune so many epochs before pruning."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="For a module: its weights, a safetensors file.")
    ] = None,
    data: Annotated[
        Text, typer.Option(help="The data set to finetune and judge on: a name or module:function.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Arguments of the data set as JSON.")] = "{}",
    shape: Annotated[
        Text, typer.Option(help="Without --data: the shape of one input, such as 3,32,32.")
    ] = None,
    finetune: Annotated[int, typer.Option(min=0, help="Epochs of training after pruning.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Of finetuning, at its peak.")] = 0.02,
    device: Annotated[str, typer.Option(help="Where it is trained and measured: cpu, cuda, cuda:1.")] = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Inputs that run at once where latency is measured.")] = 1,
    round_to: Annotated[int, typer.Option(min=1, help="Widths are multiples of it.")] = 1,
    min_width: Annotated[int, typer.Option(min=1, help="Channels that stay in every group.")] = 1,
    keep_modules: Annotated[
        list[str] | None, typer.Option(help="Modules that stay whole, such as 'layer1.*'; may be repeated.")
    ] = None,
    ranking: Annotated[str, typer.Option(help="global, layer or isomorphic.")] = "global",
    seed: Annotated[int, typer.Option(min=0, help="Of finetuning and of random scores.")] = 0,
    formats: Annotated[
        str, typer.Option("--format", help="state, pt2, onnx; several with commas.")
    ] = "state",
    store: Annotated[
        Text, typer.Option(help="Where the run is written down; prunes.db beside the bundle.")
    ] = None,
    name: Annotated[
        Text, typer.Option(help="The study of its runs; the network's name unless given.")
    ] = None,
    plan_only: Annotated[
        Path | None, typer.Option(help="Write the plan into this file, and do nothing else.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another bundle there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a trained network smaller: an ordinary network, measured on the device, its accuracy stated."""
    from nasplat.prune import PruneSettings
    from nasplat.study.pruning import Delivery, Finetuning, PruneOrder

    if (output is None) == (plan_only is None):
        raise InvalidStudy("where to? give -o DIR for the network, or --plan-only FILE for the plan alone")
    sizes = {"max_macs": max_macs, "max_params": max_params, "max_latency": max_latency}
    settings = PruneSettings(
        ranking=ranking,  # type: ignore[arg-type]  # it is checked there
        round_to=round_to,
        min_width=min_width,
        keep=tuple(keep_modules or ()),
        device=device,
        batch=batch,
        seed=seed,
    )
    order = PruneOrder(
        model,
        _target(speedup, keep, sizes),
        score=score,
        metanet=metanet,
        weights=weights,
        data=data,
        arguments=arguments_of(arguments, '{"limit": 2000}'),
        shape=None if shape is None else _shape(shape),
        finetuning=Finetuning(finetune, rewrite, learning_rate),
        settings=settings,
    )
    if output is None:
        _plan(order, Path(str(plan_only)), as_json)
    else:
        _deliver(order, Delivery(output, _names(formats), store, name, overwrite), as_json)


def _plan(order: PruneOrder, path: Path, as_json: bool) -> None:
    from nasplat.study.pruning import plan_model

    plan = plan_model(order)
    plan.save(path)
    typer.echo(json.dumps(plan.as_json(), indent=1) if as_json else repr(plan))
    typer.echo(f"plan: {path}", err=as_json)


def _deliver(order: PruneOrder, delivery: Delivery, as_json: bool) -> None:
    from nasplat.cli.progress import watching
    from nasplat.study.pruning import prune_model

    try:
        with nullcontext() if as_json else watching() as watcher:
            found = prune_model(order, delivery, watcher)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was written. start again with the same command", err=True)
        raise typer.Exit(130) from None
    if as_json:
        said = {
            "bundle": str(delivery.folder),
            "fresh": found.fresh,
            "study": str(found.page),
            "trial": found.trial,
        }
        typer.echo(json.dumps(said | {"pruned": found.card["pruned"]}, indent=1))
    else:
        _say(found, delivery.folder)


def _say(found: Pruned, folder: Path) -> None:
    """Before and after, what stayed whole, and where to look."""
    about = found.card["pruned"]
    for group, reason in found.plan.frozen.items():
        typer.echo(f"stays whole: {group} ({reason})")
    print_table(_table(about), f"{about['from']}: {about['target']}, by {about['score']}", {})
    if not about["met"]:
        typer.echo(
            "the target was planned by measurement, and the last measurement misses it: see the spread"
        )
    if "metric" not in about:
        typer.echo(about["data"])
    typer.echo(f"{'pruned' if found.fresh else 'already pruned, nothing to do'}: {folder}")
    typer.echo(f"trial {found.trial}, beside others: nasplat front {folder.parent / found.page.name}")


def _table(about: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each number, before and after."""
    import pandas as pd

    rows = []
    for name in ("macs", "params", "latency", "validation", "test"):
        before, after = (_value(about[when][name]) for when in ("before", "after"))
        if before is not None:
            shown = f"{about['metric']} ({name})" if name in ("validation", "test") else UNIT.get(name, name)
            rows.append({"": shown, "before": before, "after": after})
    return pd.DataFrame(rows)


def _value(number: Any) -> str | None:
    if isinstance(number, Mapping):
        noisy = ", noisy" if number["noisy"] else ""
        return f"{number['median_ms']:.4g} ± {number['iqr_ms']:.2g}{noisy}"
    return None if number is None else spelled(number)


def _target(speedup: float | None, keep: str | None, sizes: Mapping[str, str | None]) -> dict[str, Any]:
    """The targets that are given."""
    found: dict[str, Any] = {} if speedup is None else {"speedup": speedup}
    for name, text in sizes.items():
        if text is not None:
            units = MILLISECONDS if name == "max_latency" else COUNTS
            found[name] = _number(f"--{name.replace('_', '-')}", text, units)
    return found if keep is None else found | {"keep_ratio": _shares(keep)}


def _number(option: str, text: str, units: Mapping[str, float]) -> float:
    """A number with a unit."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    try:
        assert match is not None
        return float(match[1]) * units[match[2]]
    except (AssertionError, ValueError, KeyError):
        known = ", ".join(unit for unit in units if unit)
        raise InvalidStudy(f"{option} {text}: expected a number, with or without a unit of {known}") from None


def _shares(text: str) -> float | dict[str, float]:
    """One share for all groups, or shares by patterns of their names."""
    try:
        if "=" not in text:
            return float(text)
        pairs = (part.rpartition("=") for part in text.split(","))
        return {name.strip(): float(share) for name, _, share in pairs}
    except ValueError:
        raise InvalidStudy(f"--keep {text}: expected a share such as 0.5, or conv1=0.5,layer*=0.25") from None


def _shape(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in re.split("[,x]", text))
        assert min(found) > 0
        return found
    except (AssertionError, ValueError):
        raise InvalidStudy(f"--shape {text}: expected numbers above 0 with commas, such as 3,32,32") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
