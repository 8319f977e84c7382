"""A zoo: many trained networks with a table of facts, read from a file or a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from nasplat.errors import DataError
from nasplat.zoo.files import Origin, read_groups
from nasplat.zoo.group import DIVERGED, Group, Row, Skipped

if TYPE_CHECKING:
    import pandas as pd

WHOLE, PARTS = "zoo.safetensors", "parts"
"""The file of a finished zoo in its folder, and the folder of its groups while it is being trained."""

SUMMARY = {
    "params": ("params", "median"),
    "accuracy": ("test_accuracy", "median"),
    "least": ("test_accuracy", "min"),
    "most": ("test_accuracy", "max"),
    "gap": ("gap", "median"),
    "psnr_db": ("psnr_db", "median"),
}
"""Columns of a summary: what they are made of, and how."""


@dataclass(frozen=True, slots=True, eq=False)
class Zoo:
    """Trained networks of one or many forms, at positions 0, 1, ...; the groups are in order and hold them all.

    origin: settings, data, versions and device. skipped: members that could not be read, and why.
    """

    groups: tuple[Group, ...]
    origin: Origin
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def __iter__(self) -> Iterator[tuple[Row, nn.Module]]:
        """(row of facts, module in eval mode) of each network, in order."""
        for group in self.groups:
            for k, row in enumerate(group.rows):
                yield row, group.module(k)

    @property
    def rows(self) -> list[Row]:
        """The facts of each network, by position."""
        return [row for group in self.groups for row in group.rows]

    @property
    def table(self) -> pd.DataFrame:
        """The facts of each network; the index is its position. A loss that is no number is NaN."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def summary(self) -> pd.DataFrame:
        """By family, or for all where there is none: networks, those that diverged, and medians of what was judged.

        For test accuracy also its range; for SIRENs the median PSNR in dB.
        """
        import pandas as pd

        table = self.table
        families = table["family"] if "family" in table else table["status"].map(lambda _: "all")
        rows = []
        for family, part in table.groupby(families, sort=False):
            row = {
                "family": family,
                "networks": len(part),
                "diverged": int((part["status"] == DIVERGED).sum()),
            }
            for name, (column, how) in SUMMARY.items():
                if column in part:
                    row[name] = float(part[column].astype(float).agg(how))
            rows.append(row)
        return pd.DataFrame(rows)

    def module(self, i: int) -> nn.Module:
        """Network i as an ordinary module of its own, in eval mode, on the CPU."""
        for group in self.groups:
            if i in group.positions:
                return group.module(i - group.start)
        raise IndexError(f"network {i} of a zoo of {len(self)}: choose 0 to {len(self) - 1}")

    def select(self, positions: Sequence[int]) -> Zoo:
        """The zoo of some networks, in the order of this zoo."""
        wanted = set(positions)
        if not wanted <= set(range(len(self))):
            raise IndexError(f"positions go from 0 to {len(self) - 1}, not to {max(wanted)}")
        kept = [g.keep([i - g.start for i in g.positions if i in wanted]) for g in self.groups]
        return zoo_of([group for group in kept if len(group)], self.origin, self.skipped)


def zoo_of(groups: Sequence[Group], origin: Origin, skipped: Sequence[Skipped] = ()) -> Zoo:
    """A zoo of groups, whose networks get their positions here."""
    placed, start = [], 0
    for group in groups:
        placed.append(replace(group, start=start))
        start += len(group)
    return Zoo(tuple(placed), origin, tuple(skipped))


def open_zoo(path: str | Path) -> Zoo:
    """The zoo of a folder that `train_zoo` writes, finished or not, or of one file.

    Of an unfinished zoo, the groups that are there; a group that cannot be read is skipped. DataError: no zoo is
    there, or a finished one is damaged.
    """
    path = Path(path)
    whole = path / WHOLE if path.is_dir() else path
    if whole.is_file():
        return zoo_of(*read_groups(whole))
    parts = sorted((path / PARTS).glob("*.safetensors"))
    if not parts:
        raise DataError(
            f"{path} holds no zoo; train one (nasplat zoo train DATA -o {path}), or name the module of other "
            "networks there (--module)"
        )
    groups: list[Group] = []
    skipped: list[Skipped] = []
    origin: Origin = {}
    for part in parts:
        try:
            found, origin, left_out = read_groups(part)
        except DataError as error:
            skipped.append(Skipped(part.name, str(error)))
            continue
        groups += found
        skipped += left_out
    return zoo_of(groups, origin, skipped)
