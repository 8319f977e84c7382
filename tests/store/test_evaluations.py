"""One current number per architecture, metric and origin; older ones stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nasplat.errors import StoreError
from nasplat.files import json_hash
from nasplat.store import EvaluationRecord, Store

SPACE = "hash-of-space"
CPU = {"device": "cpu", "threads": 1}
QUIET = EvaluationRecord("latency", 3.0, "ms", CPU, spread=0.1, n=50)
NOISY = replace(QUIET, value=4.0, noisy=True)
FAILED = EvaluationRecord("latency", None, "ms", CPU, status="failed", reason="out of memory")


def put(store: Store, record: EvaluationRecord, depth: int = 1) -> bool:
    return store.record(SPACE, {"depth": depth}, f"key-{depth}", record)


@pytest.fixture(autouse=True)
def _study(study_id: int) -> None:
    """The store knows the space."""


def test_a_good_number_is_not_recorded_twice(store: Store) -> None:
    assert put(store, QUIET)
    assert not put(store, replace(QUIET, value=1.0))
    assert not put(store, NOISY)
    assert not put(store, FAILED)
    found = store.current(SPACE, "key-1", "latency", json_hash(CPU))
    assert found == replace(QUIET, arch_key="key-1")


@pytest.mark.parametrize("first", [NOISY, FAILED])
def test_a_bad_number_is_superseded_and_kept(store: Store, first: EvaluationRecord) -> None:
    assert put(store, first)
    assert put(store, QUIET)
    assert [e.value for e in store.evaluations(SPACE)] == [3.0]
    history = store.evaluations(SPACE, superseded=True)
    assert [(e.value, e.current) for e in history] == [(first.value, False), (3.0, True)]


def test_a_failure_does_not_supersede_a_noisy_number(store: Store) -> None:
    assert put(store, NOISY)
    assert not put(store, FAILED)


def test_another_origin_is_another_number(store: Store) -> None:
    gpu = replace(QUIET, origin={"device": "cuda"}, value=0.3)
    assert put(store, QUIET)
    assert put(store, gpu)
    assert put(store, QUIET, depth=2)
    assert [e.value for e in store.evaluations(SPACE, ["key-1"])] == [3.0, 0.3]
    assert [e.arch_key for e in store.evaluations(SPACE, ["key-2", "key-9"], "latency")] == ["key-2"]
    assert store.evaluations(SPACE, metric="accuracy") == []
    assert store.current(SPACE, "key-1", "latency", json_hash({})) is None


def test_nan_is_no_number(store: Store) -> None:
    with pytest.raises(ValueError, match="record status 'failed'"):
        put(store, replace(QUIET, value=float("nan")))


def test_an_unknown_space_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="create a study"):
        store.record("other", {}, "k", QUIET)


def test_machines_are_known_by_their_fingerprint(store: Store) -> None:
    first = store.machine({"fingerprint": "abc", "name": "cpu"})
    assert store.machine({"fingerprint": "abc", "name": "cpu"}) == first
    assert store.machine({"fingerprint": "def"}) != first
    with pytest.raises(StoreError, match="fingerprint"):
        store.machine({"name": "cpu"})


def test_a_newer_file_of_the_same_origin_takes_the_row(store: Store, study_id: int) -> None:
    before = datetime.now(UTC)
    store.put_artefact(study_id, "supernet", "a.safetensors", "1", {"seed": 0})
    store.put_artefact(study_id, "supernet", "b.safetensors", "2", {"seed": 0})
    store.put_artefact(study_id, "supernet", "c.safetensors", "3", {"seed": 1})
    found = store.artefact(study_id, "supernet", json_hash({"seed": 0}))
    assert found is not None
    assert (found.path, found.content_hash, found.origin) == ("b.safetensors", "2", {"seed": 0})
    assert before <= found.created <= datetime.now(UTC)
    other = store.artefact(study_id, "supernet", json_hash({"seed": 1}))
    assert other is not None
    assert other.path == "c.safetensors"
    assert store.artefact(study_id, "front", json_hash({"seed": 0})) is None


def test_one_worker_claims_a_long_job_while_its_lease_holds(store: Store, study_id: int) -> None:
    assert store.claim(study_id, "supernet", "far:1:a", 60)
    assert store.claim(study_id, "supernet", "far:1:a", 60)
    assert not store.claim(study_id, "supernet", "far:2:b", 60)
    assert store.renew_claim(study_id, "supernet", "far:1:a", -1)
    assert store.claim(study_id, "supernet", "far:2:b", 60)
    assert not store.renew_claim(study_id, "supernet", "far:1:a", 60)
    store.unclaim(study_id, "supernet", "far:1:a")
    assert not store.claim(study_id, "supernet", "far:1:a", 60)
    store.unclaim(study_id, "supernet", "far:2:b")
    assert store.claim(study_id, "supernet", "far:1:a", 60)
