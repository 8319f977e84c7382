"""Processes that torchrun started together: the first one leads, the others train when it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nasplat.supernet.world import World, init_world, this_world


class Team:
    """This process and its world. Only the leader opens the store, claims work, writes and speaks.

    Every signal is two flags that all processes exchange: go on, and work now. A process alone waits for nobody.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._at_work = False

    @property
    def leads(self) -> bool:
        """Whether this process is the leader."""
        return self.world.main

    @property
    def alone(self) -> bool:
        """Whether there is nobody to lead."""
        return self.world.size == 1

    @contextmanager
    def led(self) -> Iterator[None]:
        """The leader's time; at its end the others go. Who fails at work leaves: torchrun ends the others."""
        try:
            yield
        finally:
            if not self._at_work:
                self.world.any(False, False)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The leader works on what takes all of them."""
        self.world.any(True, True)
        self._at_work = True
        yield
        self._at_work = False

    def wait(self) -> None:
        """Nothing to do yet: without a word the others would give up after some minutes."""
        self.world.any(True, False)

    def calls(self) -> Iterator[None]:
        """Each time that the leader wants the others to work, until it lets them go."""
        while True:
            go_on, work = self.world.any(False, False)
            if not go_on:
                return
            if work:
                yield


@contextmanager
def gathered(device: str) -> Iterator[Team]:
    """The team that this process belongs to: those of torchrun, or itself alone."""
    world = this_world()
    if world.size > 1:  # a script has gathered them already, and will let them go
        yield Team(world)
        return
    world = init_world(device)
    try:
        yield Team(world)
    finally:
        world.close()
