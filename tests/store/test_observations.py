"""What probes saw: rows that a resumed training may write again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from nasplat.files import json_hash
from nasplat.store import ObservationRecord, Store, StudyRecord

ORIGIN = {"method": "sandwich", "seed": 0}
SEEN = ObservationRecord("norm_drift", 3, {"largest": {"mean_shift": 0.25, "norms": 4}}, "1")


def test_what_was_seen_comes_back_with_the_training_that_it_was_seen_of(store: Store, study_id: int) -> None:
    later = replace(SEEN, epoch=12)
    store.observe(study_id, ORIGIN, [later, SEEN])
    store.observe(study_id, {"method": "uniform"}, [SEEN])
    first, second = json_hash(ORIGIN), json_hash({"method": "uniform"})
    assert store.observations(study_id) == [
        replace(SEEN, origin_hash=first),
        replace(later, origin_hash=first),
        replace(SEEN, origin_hash=second),
    ]


def test_an_epoch_that_is_repeated_is_written_again(store: Store, study_id: int) -> None:
    for value in (0.5, 0.25):
        store.observe(study_id, ORIGIN, [replace(SEEN, values={"mean_shift": value})])
    (row,) = store.observations(study_id)
    assert row.values == {"mean_shift": 0.25}


def test_a_value_that_is_not_finite_is_null_and_every_key_is_text(store: Store, study_id: int) -> None:
    store.observe(study_id, ORIGIN, [replace(SEEN, values={"a": [math.nan, {1: math.inf}], "b": 1})])
    assert store.observations(study_id)[0].values == {"a": [None, {"1": None}], "b": 1}


def test_observations_are_those_of_one_study_and_all_of_a_call_or_none(
    store: Store, study: StudyRecord, study_id: int
) -> None:
    other = store.create_study(replace(study, name="other"))
    store.observe(other, ORIGIN, [SEEN])
    assert store.observations(study_id) == []
    with pytest.raises(TypeError):
        store.observe(study_id, ORIGIN, [SEEN, replace(SEEN, values={"a": object()})])
    assert store.observations(study_id) == []
