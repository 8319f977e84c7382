"""What does not fit into memory is told before it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasplat.elastic.weights import memory
from nasplat.errors import NasplatError


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever limit the tests themselves run under."""
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")


def test_needs_and_what_there_is_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 4 * 2**30)
    memory.check_memory(4 * 2**30, "8 experts")
    needs = "8 experts need at least 6 GiB of memory for weights, gradients and momentum"
    with pytest.raises(NasplatError, match=rf"^{needs}, and this machine has 4 GiB: take .*$"):
        memory.check_memory(6 * 2**30, "8 experts")


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert memory.machine_memory() is None
    memory.check_memory(2**80, "8 experts")


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="no Linux")
def test_memory_is_that_of_the_kernel() -> None:
    with open("/proc/meminfo", encoding="ascii") as file:
        kibibytes = int(file.readline().split()[1])
    assert memory.machine_memory() == 1024 * kibibytes


@pytest.mark.parametrize(("limit", "expected"), [("1000\n", 1000), ("max\n", 4000), ("9000\n", 4000)])
def test_a_container_has_the_memory_that_it_may_take(
    limit: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": 1000}.__getitem__)
    memory.CGROUP_LIMIT.write_text(limit)
    assert memory.machine_memory() == expected
