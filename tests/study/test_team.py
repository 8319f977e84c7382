"""How processes that train together are led: two threads stand for them, with a barrier for a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Barrier, Thread

import pytest

from nasplat.study.team import Team, gathered
from nasplat.supernet import World


@dataclass
class Meeting:
    """Two processes that tell each other flags."""

    barrier: Barrier = field(default_factory=lambda: Barrier(2, timeout=10))
    raised: dict[int, tuple[bool, ...]] = field(default_factory=dict)

    def any(self, rank: int, flags: tuple[bool, ...]) -> list[bool]:
        self.raised[rank] = flags
        self.barrier.wait()
        found = [any(pair) for pair in zip(*self.raised.values(), strict=True)]
        self.barrier.wait()
        return found


@dataclass(frozen=True)
class Seat(World):
    """A process at the meeting."""

    meeting: Meeting = field(default_factory=Meeting)

    def any(self, *flags: bool) -> list[bool]:
        return self.meeting.any(self.rank, flags)


def follow(lead: Callable[[Team], None]) -> int:
    """How often the second process was called to work, while the first one leads."""
    meeting, calls = Meeting(), []
    leader, follower = (Team(Seat(rank, 2, meeting)) for rank in range(2))
    assert (leader.leads, follower.leads) == (True, False)

    def thread() -> None:
        calls.extend(1 for _ in follower.calls())

    other = Thread(target=thread)
    other.start()
    try:
        lead(leader)
    finally:
        other.join(10)
        assert not other.is_alive()
    return len(calls)


def test_others_work_when_the_leader_does_and_wait_as_long_as_it_waits() -> None:
    def lead(team: Team) -> None:
        with team.led():
            team.wait()
            with team.at_work():
                pass
            team.wait()
            with team.at_work():
                pass

    assert follow(lead) == 2


def test_others_go_without_a_call_where_there_is_nothing_to_do() -> None:
    def lead(team: Team) -> None:
        with team.led():
            pass

    assert follow(lead) == 0


def test_others_go_where_the_leader_finds_a_mistake() -> None:
    def lead(team: Team) -> None:
        with pytest.raises(ValueError, match="a mistake"), team.led():
            raise ValueError("a mistake")

    assert follow(lead) == 0


def test_nobody_waits_for_a_leader_that_fails_at_work() -> None:
    team = Team(Seat(0, 2, Meeting(Barrier(1))))

    def fail() -> None:
        with team.led():
            team.world.meeting.barrier = Barrier(1)  # type: ignore[attr-defined]
            with team.at_work():
                team.world.meeting.barrier = Barrier(2, timeout=0.01)  # type: ignore[attr-defined]
                raise ValueError("at work")

    with pytest.raises(ValueError, match="at work"):  # and no BrokenBarrierError from a last word
        fail()


def test_process_alone_leads_nobody() -> None:
    with gathered("cpu") as team, team.led(), team.at_work():
        team.wait()
        assert (team.leads, team.alone) == (True, True)
