"""The page from which `nasplat fit metanet` learns: one flat page of TOML, checked before anything runs.

[data]                     # as in a study file
name = "fashion_mnist"
[models]                   # the trained networks to learn from: a zoo, a folder of state dicts, or a family to train
family = "resnet"
widths = [[4, 8, 16], [6, 12, 24]]
depths = [8, 14, 20]
count = 10
epochs = 20
[metanet]                  # settings of the metanetwork and of its training, see `MetaSettings`
epochs = 20
[losses]                   # batches of training data that each step sees
batch = 500
[judge]                    # how rewritten networks are judged on validation data, which chooses the epoch
speedups = [2.0, 3.0]
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasplat.arguments import check_arguments
from nasplat.errors import InvalidStudy, expected_one_of
from nasplat.prune.meta import MetaSettings


@dataclass(frozen=True, slots=True)
class Models:
    """[models]: where the trained networks come from; exactly one of folder, zoo and family.

    folder: of state dicts, with `module`, which makes what they fit, as file.py:NAME or package.module:NAME. zoo: a
    folder of nasplat zoo; `families`: those of its families that are taken. family: networks to be trained here, see
    FAMILIES in `nasplat.study.pruning.training`, of all widths and depths in turn, for so many epochs each.
    count: networks in all, at most; drawn by `seed` where there are more. held_out: the share that chooses the epoch.
    """

    folder: str | None = None
    module: str | None = None
    zoo: str | None = None
    families: tuple[str, ...] = ()
    family: str | None = None
    widths: tuple[tuple[int, ...] | int, ...] = ()
    depths: tuple[int, ...] = ()
    count: int = 10
    epochs: int = 20
    learning_rate: float = 0.1
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        given = [name for name in ("folder", "zoo", "family") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidStudy(
                f"[models] has {' and '.join(given) or 'none'} of folder, zoo and family; give one of them"
            )
        if (self.module is None) != (self.folder is None):
            raise InvalidStudy(
                "[models] folder and module go together: module makes what the state dicts fit"
            )
        if self.family is not None and not (self.widths and self.depths):
            raise InvalidStudy("[models] family needs widths and depths, such as [[4, 8, 16]] and [8, 14]")
        wrong = self.count < 2 or self.epochs < 1 or not self.learning_rate > 0
        if wrong or not 0 < self.held_out < 1:
            raise InvalidStudy(
                f"[models] count = {self.count}, epochs = {self.epochs}, learning_rate = {self.learning_rate}, "
                f"held_out = {self.held_out}: expected at least 2 networks, an epoch, a rate above 0, and a share "
                "between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class Losses:
    """[losses]: random batches of training data that each step of meta-training sees."""

    batch: int = 500
    batches: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.batches < 1:
            raise InvalidStudy(
                f"[losses] batch = {self.batch}, batches = {self.batches}: expected 1 or more of each"
            )


@dataclass(frozen=True, slots=True)
class Judging:
    """[judge]: accuracy on validation data after pruning to these speed-ups, a mean; before and after: epochs of
    finetuning around the pruning, at this rate. calibration: training inputs that norms are recalibrated with."""

    speedups: tuple[float, ...] = (2.0, 3.0)
    before: int = 0
    after: int = 0
    learning_rate: float = 0.02
    calibration: int = 1000

    def __post_init__(self) -> None:
        if not self.speedups or min(self.speedups) < 1:
            raise InvalidStudy(f"[judge] speedups = {list(self.speedups)}: expected some, from 1")
        if min(self.before, self.after) < 0 or self.calibration < 1 or not self.learning_rate > 0:
            raise InvalidStudy(
                f"[judge] before = {self.before}, after = {self.after}, calibration = {self.calibration}, "
                f"learning_rate = {self.learning_rate}: expected epochs from 0, images from 1, and a rate above 0"
            )


@dataclass(frozen=True, slots=True)
class MetanetPage:
    """A checked page. data: the data set's name and arguments."""

    path: Path
    data: Mapping[str, Any]
    models: Models
    settings: MetaSettings
    losses: Losses
    judge: Judging

    @property
    def folder(self) -> Path:
        """What paths of the page are relative to."""
        return self.path.resolve().parent


TABLES: dict[str, Callable[..., Any]] = {
    "models": Models,
    "metanet": MetaSettings,
    "losses": Losses,
    "judge": Judging,
}


def read_page(path: Path) -> MetanetPage:
    """The page in a file. InvalidStudy or ArgumentError, in one line: what stands there, and what is expected."""
    try:
        page = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidStudy(f"{path} cannot be read: {error.strerror}; give a page of TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidStudy(f"{path} is not TOML: {error}") from None
    for name, table in page.items():
        if name not in ("data", *TABLES):
            raise InvalidStudy(
                f"{path}: the page has no table {name!r}; {expected_one_of(name, ['data', *TABLES])}"
            )
        if not isinstance(table, dict):
            raise InvalidStudy(f"{path}: {name} is no table; write [{name}]")
    for name in ("data", "models"):
        if name not in page:
            raise InvalidStudy(f"{path}: the table [{name}] is missing; add it")
    if not isinstance(page["data"].get("name"), str):
        raise InvalidStudy(f"{path}: [data] needs 'name'; add it")
    made = {n: make(**check_arguments(make, page.get(n, {}), f"{path}: [{n}]")) for n, make in TABLES.items()}
    return MetanetPage(path, page["data"], made["models"], made["metanet"], made["losses"], made["judge"])
