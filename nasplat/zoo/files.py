"""Zoos as files: stacked tensors under "group/tensor" in safetensors, forms and rows as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nasplat.errors import DataError
from nasplat.files import write_atomic
from nasplat.zoo.families import FAMILIES, Form
from nasplat.zoo.group import TRAINED, Group, Skipped, finite, misfit
from nasplat.zoo.siren import SirenForm

VERSION = 1
HEADER = "zoo"

Origin = Mapping[str, Any]
"""Settings, data, versions and device of a zoo, as plain JSON."""


def write_groups(path: Path, groups: Sequence[Group], origin: Origin) -> None:
    """Write groups to one file, whole or not at all."""
    tensors = {f"{g.name}/{name}": t.contiguous() for g in groups for name, t in g.tensors.items()}
    listed = [{"name": g.name, "form": dict(g.form), "rows": g.rows} for g in groups]
    header = {"version": VERSION, "origin": dict(origin), "groups": listed}
    write_atomic(path, save(tensors, {HEADER: json.dumps(header)}))


def read_groups(path: Path) -> tuple[list[Group], Origin, list[Skipped]]:
    """The groups of a file, where the zoo comes from, and the members that had to be left out.

    A group whose tensors do not fit its form is left out, and so is a network called trained that has NaN or infinite
    numbers. DataError: no zoo, of a later version, or damaged.
    """
    try:
        header, tensors = _content(path)
        origin = dict(header["origin"])
        checked = [_checked(_group(entry, tensors)) for entry in header["groups"]]
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or no zoo ({what}); train it again, or copy it again") from error
    groups = [group for group, _ in checked if group is not None]
    return groups, origin, [one for _, skipped in checked for one in skipped]


def maker(form: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """What makes a network of a form that a file names. DataError for an unknown family."""
    if form["family"] == "siren":
        return SirenForm(**form).make
    if form["family"] not in FAMILIES:
        raise DataError(
            f"the zoo has a family {form['family']!r} that this nasplat does not know; use a later one"
        )
    return Form(**{**form, "input_shape": tuple(form["input_shape"])}).make


def _content(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {})[HEADER])
        if header["version"] > VERSION:
            raise DataError(f"{path} was written by a later nasplat; use that one")
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _group(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Group:
    prefix = f"{entry['name']}/"
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    return Group(entry["name"], entry["form"], maker(entry["form"]), own, tuple(entry["rows"]))


def _checked(group: Group) -> tuple[Group | None, list[Skipped]]:
    """The sound part of a group, and what is not sound."""
    reason = _reason(group)
    return (None, [Skipped(f"group {group.name}", reason)]) if reason else _sound(group)


def _reason(group: Group) -> str:
    """Why a group cannot be used; "" when it can."""
    lengths = {len(t) for t in group.tensors.values()}
    if lengths != {len(group)}:
        return f"its tensors hold {sorted(lengths)} networks, its table {len(group)}"
    with torch.device("meta"):
        expected = group.make().state_dict()
    return misfit({name: tensor[0] for name, tensor in group.tensors.items()}, expected)


def _sound(group: Group) -> tuple[Group, list[Skipped]]:
    """The group without networks that are called trained although they have NaN or infinite numbers."""
    sound = finite(group.tensors).tolist()
    bad = [k for k, row in enumerate(group.rows) if row["status"] == TRAINED and not sound[k]]
    if not bad:
        return group, []
    skipped = [Skipped(f"network {group.rows[k]['number']}", "NaN or infinite weights") for k in bad]
    return group.keep([k for k in range(len(group)) if k not in bad]), skipped
