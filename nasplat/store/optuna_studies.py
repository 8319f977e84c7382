"""The half of Optuna's storage interface that is about studies."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from nasplat.errors import StoreError
from nasplat.store import studies
from nasplat.store.attributes import AttributeCache, Attributes, write_attributes
from nasplat.store.database import Link
from nasplat.store.optuna_history import Distributions, History
from nasplat.store.records import StudyRecord
from nasplat.store.schema import open_database


class StudyStorage(BaseStorage):
    """Studies and their attributes; see Optuna's `BaseStorage` for each method."""

    def __init__(self, url: str, *, base: Path | None = None) -> None:
        """Open a store by its address; see `Store.open`."""
        self._database = open_database(url, base, create=True)
        self._database.on_rollback = self._forget
        self._lock = threading.RLock()
        self._histories: dict[int, History] = {}
        self._attributes = AttributeCache()

    def _forget(self) -> None:
        """Drop what may have been read from a transaction that was rolled back."""
        self._attributes.clear()
        for history in self._histories.values():
            history.distributions = Distributions()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._database.url.render_as_string(hide_password=False)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])  # type: ignore[misc]

    def remove_session(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._database.close_thread()

    def close(self) -> None:
        """Close all connections; the next use opens others."""
        self._database.close()

    @contextmanager
    def _writing(self, study_id: int, new: int = 0) -> Iterator[tuple[Link, studies.Step]]:
        with self._lock, self._database.transaction() as link:
            step = advance(link, study_id, new)
            if new:
                refuse_architectures(link, study_id, step)
            yield link, step

    @contextmanager
    def _reading(self) -> Iterator[Link]:
        with self._lock, self._database.snapshot() as link:
            yield link

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        name = DEFAULT_STUDY_NAME_PREFIX + str(uuid.uuid4()) if study_name is None else study_name
        study = StudyRecord(name, [direction.name.lower() for direction in directions])
        with self._lock, self._database.transaction() as link:
            if studies.find_study(link, name) is not None:
                raise DuplicatedStudyError(f"study {name!r} exists; load it or choose another name")
            return studies.insert_study(link, study)

    def delete_study(self, study_id: int) -> None:
        with self._writing(study_id) as (link, _):
            studies.delete_study(link, study_id)
            self._histories.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_attribute(study_id, "user", key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_attribute(study_id, "system", key, value)

    def _set_attribute(self, study_id: int, kind: str, key: str, value: Any) -> None:
        with self._writing(study_id) as (link, step):
            write_attributes(link, study_id, kind, {key: value}, step.revision)

    def get_study_id_from_name(self, study_name: str) -> int:
        with self._reading() as link:
            study = studies.find_study(link, study_name)
        if study is None:
            raise KeyError(f"No such study {study_name}.")
        return study.id

    def get_study_name_from_id(self, study_id: int) -> str:
        with self._reading() as link:
            return _study(link, study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        with self._reading() as link:
            return _directions(_study(link, study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attributes_of(study_id).user

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attributes_of(study_id).system

    def _attributes_of(self, study_id: int) -> Attributes:
        with self._reading() as link:
            _study(link, study_id)
            return self._attributes.read(link, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        with self._reading() as link:
            known = [(study, self._attributes.read(link, study.id)) for study in studies.list_studies(link)]
        return [
            FrozenStudy(
                study_name=study.name,
                direction=None,
                directions=_directions(study),
                user_attrs=copy.deepcopy(attributes.user),
                system_attrs=copy.deepcopy(attributes.system),
                study_id=study.id,
            )
            for study, attributes in known
        ]


def advance(link: Link, study_id: int, new: int = 0) -> studies.Step:
    """A study's next revision; a study that does not exist is a KeyError to Optuna."""
    try:
        return studies.advance(link, study_id, new)
    except StoreError:
        raise KeyError(f"No study with study_id {study_id} exists.") from None


def refuse_architectures(link: Link, study_id: int, step: studies.Step) -> None:
    """Raise StoreError in a study of architectures: a trial that Optuna runs has neither one nor a lease."""
    if step.space_id is not None:
        raise StoreError(
            f"study {_study(link, study_id).name!r} searches architectures: Optuna can read it but run no trial of it;"
            " use `nasplat run --enqueue` or Study.enqueue"
        )


def _study(link: Link, study_id: int) -> StudyRecord:
    study = studies.get_study(link, study_id)
    if study is None:
        raise KeyError(f"No study with study_id {study_id} exists.")
    return study


def _directions(study: StudyRecord) -> list[StudyDirection]:
    return [StudyDirection[name.upper()] for name in study.directions]
