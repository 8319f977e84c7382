"""A study as it lies on the disk: its page, and its record in the store. Loads neither torch nor Optuna."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from nasplat.errors import InvalidStudy
from nasplat.store import Store, StudyRecord
from nasplat.study.file import StudyFile, read_study_file


class StudyFolder:
    """A study file with its folder, and the store that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.page: StudyFile = read_study_file(path)
        self.name = self.page.study.name

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: the page as it was read here, and a store that it opens by itself."""
        return {name: value for name, value in vars(self).items() if name != "store"}

    @property
    def artefacts(self) -> Path:
        """The folder of its weights."""
        return self.folder / "artefacts" / self.name

    @cached_property
    def store(self) -> Store:
        """The store, which must exist; `run` creates it."""
        return Store.open(self.page.study.store, base=self.folder, create=False)

    @property
    def record(self) -> StudyRecord:
        """The study as the store knows it."""
        record = self.store.find_study(self.name)
        if record is None:
            raise InvalidStudy(
                f"study {self.name!r} has not been run yet; start it with: nasplat run {self.path}"
            )
        return record

    @property
    def units(self) -> dict[str, str]:
        """The unit of each metric that was measured, where it has one."""
        space = self.record.space
        found = self.store.evaluations(space.hash) if space else []
        return {e.metric: e.unit for e in found if e.unit != "1"}
