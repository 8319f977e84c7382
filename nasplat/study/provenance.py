"""Where a fitted predictor comes from: the command that makes it again, and the commit of the code."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasplat.scoring import BATCH

if TYPE_CHECKING:
    from nasplat.study.fit import Order

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder of the code, which is a git repository unless it was installed as a package."""


def command_of(study: Path, order: Order, folder: Path) -> str:
    """The whole command that fits the same predictor again, paths as they were given."""
    options = ["--metric", order.metric, "--predictor", order.plug_in, *_options(order)]
    return fit_command("predictor", study, options, folder)


def fit_command(what: str, study: Path, options: Sequence[str], folder: Path) -> str:
    """`nasplat fit` with these options, paths as they were given."""
    place = study.parent if study.name == "study.toml" else study
    return shlex.join(["nasplat", "fit", what, str(place), *options, "-o", str(folder)])


def _options(order: Order) -> Sequence[str]:
    arguments = ["--arguments", json.dumps(dict(order.arguments))] if order.arguments else []
    scores = [] if order.scores is None else ["--scores", ",".join(order.scores)]
    batch = [] if order.batch == BATCH else ["--batch", str(order.batch)]
    pool = [] if order.pool is None else ["--pool", order.pool]
    return [*arguments, *scores, *batch, *pool]


def commit_of(checkout: Path = CHECKOUT) -> str:
    """The git commit that is checked out in a folder; "" where it is no repository, or git is not there."""
    if not (checkout / ".git").exists():
        return ""
    try:
        asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
