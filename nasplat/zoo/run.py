"""Training a zoo group by group: killed at any moment, the same command goes on with the next group."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from nasplat import __version__
from nasplat.data import Dataset
from nasplat.errors import DataError, InvalidStudy
from nasplat.files import write_atomic
from nasplat.measure import device_info, pick_device
from nasplat.zoo.files import Origin, read_groups, write_groups
from nasplat.zoo.group import Group, Row
from nasplat.zoo.zoo import PARTS, WHOLE, Zoo, open_zoo

PAGE, TABLE = "zoo.json", "results.csv"

Watch = Callable[[int, int, str], None]
"""(networks that are done, networks in all, name of the last group) -> None."""


class Job(Protocol):
    """Networks of one form that are trained at once."""

    @property
    def name(self) -> str: ...
    @property
    def numbers(self) -> tuple[int, ...]: ...
    def train(self, data: Dataset, device: torch.device) -> Group: ...


class Settings(Protocol):
    """Which networks a zoo holds: Classifiers or Sirens, dataclasses of plain values."""

    @property
    def count(self) -> int: ...
    def check(self, data: Dataset) -> None: ...
    def jobs(self, data: Dataset) -> Iterator[Job]: ...


def train_zoo(
    settings: Settings,
    data: Dataset,
    folder: str | Path,
    *,
    device: str = "cpu",
    watch: Watch | None = None,
) -> Zoo:
    """Train the networks that settings name into a folder, and open them.

    Writes `zoo.safetensors`, all weights, whole or not at all; `results.csv`, a row for each network; `zoo.json`,
    settings and data. Groups that an interrupted call has finished are not trained again, and of a finished zoo nothing
    is. InvalidStudy: settings that make no sense, or a folder that holds another zoo.
    """
    settings.check(data)
    folder, place = Path(folder), pick_device(device)
    _claim(folder, settings, data)
    if not (folder / WHOLE).is_file():
        versions = {"nasplat": __version__, "torch": torch.__version__}
        origin = {**_page(settings, data), "versions": versions, "device": device_info(place).to_json()}
        jobs = list(settings.jobs(data))
        for job in _unfinished(jobs, folder, watch or _silent):
            write_groups(_part(folder, job), [job.train(data, place)], origin)
        _join([_part(folder, job) for job in jobs], folder, origin)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    return open_zoo(folder)


def _unfinished(jobs: Sequence[Job], folder: Path, watch: Watch) -> Iterator[Job]:
    """The jobs whose networks are not there yet; tells how far the zoo is before the first and after each."""
    left = [job for job in jobs if not _finished(_part(folder, job), job)]
    total = sum(len(job.numbers) for job in jobs)
    done = total - sum(len(job.numbers) for job in left)
    watch(done, total, "")
    for job in left:
        yield job
        done += len(job.numbers)
        watch(done, total, job.name)


def _join(parts: Sequence[Path], folder: Path, origin: Origin) -> None:
    """One file of all parts; it comes last, so that its presence says that the zoo is complete."""
    groups = [group for part in parts for group in read_groups(part)[0]]
    write_atomic(folder / TABLE, _csv([row for group in groups for row in group.rows]))
    write_groups(folder / WHOLE, groups, origin)


def _claim(folder: Path, settings: Settings, data: Dataset) -> None:
    """Make the folder this zoo's. InvalidStudy when it is another one's already."""
    page = json.loads(json.dumps(_page(settings, data)))
    if not (folder / PAGE).is_file():
        write_atomic(folder / PAGE, json.dumps(page, indent=1) + "\n")
        return
    try:
        found = json.loads((folder / PAGE).read_text(encoding="utf-8"))
        other = [key for key in page["settings"] if found["settings"].get(key) != page["settings"][key]]
        same_data = found["data"]["hash"] == page["data"]["hash"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder / PAGE} is damaged ({error}); choose another folder") from error
    if other:
        key = other[0]
        raise InvalidStudy(
            f"{folder} holds a zoo with {key} = {found['settings'].get(key)!r}, not {page['settings'][key]!r}: "
            "choose another folder, or repeat its settings to go on"
        )
    if not same_data:
        raise InvalidStudy(
            f"{folder} holds a zoo of other data than {data.name} as it is now: choose another"
        )


def _page(settings: Settings, data: Dataset) -> dict[str, Any]:
    values = asdict(settings)  # type: ignore[call-overload]
    return {
        "settings": {"kind": type(settings).__name__.lower(), **values},
        "data": {"name": data.name, **data.identity},
    }


def _part(folder: Path, job: Job) -> Path:
    return folder / PARTS / f"{job.name}.safetensors"


def _finished(part: Path, job: Job) -> bool:
    """Whether a part is there and holds the networks of its job; a damaged one is trained again."""
    if not part.is_file():
        return False
    try:
        groups, _, skipped = read_groups(part)
    except DataError:
        return False
    return not skipped and tuple(row["number"] for group in groups for row in group.rows) == job.numbers


def _csv(rows: Sequence[Row]) -> str:
    page = io.StringIO()
    writer = csv.DictWriter(page, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return page.getvalue()


def _silent(done: int, total: int, name: str) -> None:
    """Show nothing."""
