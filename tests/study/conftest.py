"""Studies of a toy space: a page, a file beside it, and what a run leaves behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasplat import Study, open_study

TOY = Path(__file__).with_name("toy.py")
PARTS = {
    "study": "trials = 12",
    "space": 'name = "toy.py:SPACE"',
    "sampler": 'name = "random"',
    "objective": 'metric = "toy.py:gain"\ndirection = "maximize"',
}

WriteStudy = Callable[..., Study]


@pytest.fixture
def write_study(tmp_path: Path) -> WriteStudy:
    """Write a page, with the toy file beside it, to a folder, and open it.

    `rest` ends the page; `study`, `space`, `sampler` and `objective` replace what these tables hold by default.
    """

    def write(rest: str = "", *, folder: str = "study", **parts: str) -> Study:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        shutil.copy(TOY, place / "toy.py")
        text = PARTS | parts
        page = f'[study]\nname = "toy"\n{text["study"]}\n[space]\n{text["space"]}\n'
        page += f"[sampler]\n{text['sampler']}\n[[objective]]\n{text['objective']}\n{rest}\n"
        (place / "study.toml").write_text(page)
        return open_study(place)

    return write


@pytest.fixture
def told() -> Callable[[Study], list[tuple[Any, ...]]]:
    """What must be equal in a resumed and an uninterrupted study: all but times and attempts."""

    def trials(study: Study) -> list[tuple[Any, ...]]:
        return [
            (t.number, t.state, t.arch_key, t.params, t.values, t.constraints, t.intermediate, t.error)
            for t in study.store.trials(study.record.id)
        ]

    return trials
