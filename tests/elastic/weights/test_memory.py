"""What does not fit into memory is told before it is allocated."""

from __future__ import annotations

import os

import pytest

from nasplat.elastic.weights import memory
from nasplat.errors import NasplatError


def test_needs_and_what_there_is_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 4 * 2**30)
    memory.check_memory(4 * 2**30, "8 experts")
    line = r"^8 experts need 6 GiB of memory for weights, gradients and momentum, and this machine has 4 GiB: take .*$"
    with pytest.raises(NasplatError, match=line):
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
