"""Several processes at one store: distinct numbers, and nothing lost to kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nasplat.store import Outcome, Proposal, Store, StudyRecord, Ticket, worker_name

WORKER = """
import sys
from nasplat.store import Outcome, Proposal, Store, worker_name
store, me, rounds = Store.open(sys.argv[1]), worker_name(), int(sys.argv[2])
study = store.studies()[0].id
for _ in range(rounds):
    with store.asking(study, me, lease_seconds=600) as turn:
        number = turn.number
        ticket = turn.create(Proposal({"x": 0.5}, {"depth": number}, f"key-{number}"))
    print(ticket.number, flush=True)
    if rounds > 1:
        assert store.tell(study, ticket, Outcome("complete", (1.0, 2.0)))
sys.stdin.read()
"""


def start(store: Store, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, store.url, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def test_processes_that_ask_at_the_same_time_get_distinct_numbers(store: Store, study_id: int) -> None:
    workers = [start(store, 40) for _ in range(3)]
    numbers = [int(line) for worker in workers for line in worker.communicate(timeout=60)[0].split()]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(numbers) == list(range(120))
    trials = store.trials(study_id)
    assert [(trial.number, trial.state) for trial in trials] == [(n, "complete") for n in range(120)]
    assert len({trial.revision for trial in trials}) == 120


def test_trial_of_a_killed_process_runs_again_under_its_number(store: Store, study_id: int) -> None:
    worker = start(store, 1)
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline().strip() == "0"
    assert store.reap(study_id) == []
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    worker.stdin.close()
    assert store.reap(study_id) == [0]
    with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
        ticket = turn.claim(0)
    assert not store.tell(study_id, Ticket(0, 1), Outcome("failed"))  # the dead one, were it to speak
    assert store.tell(study_id, ticket, Outcome("complete", (1.0, 2.0)))


@pytest.mark.parametrize("rounds", range(3))
def test_kill_at_any_moment_leaves_whole_trials(store: Store, study_id: int, rounds: int) -> None:
    worker = start(store, 10_000)
    assert worker.stdout is not None
    assert worker.stdin is not None
    told = [int(worker.stdout.readline()) for _ in range(5 + 7 * rounds)]
    worker.kill()
    worker.wait()
    worker.stdin.close()
    told += [int(line) for line in worker.stdout.read().split()]
    worker.stdout.close()
    trials = store.trials(study_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len(told) <= len(trials) <= len(told) + 1
    assert all(trial.state == "complete" for trial in trials[: len(told) - 1])
    waiting = store.reap(study_id)
    assert waiting in ([], [len(trials) - 1])


def test_processes_that_make_the_same_store_at_the_same_time_agree(tmp_path: Path) -> None:
    code = "import sys; from nasplat.store import Store; Store.open(sys.argv[1])"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'study.db'}"]
    makers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [maker.communicate(timeout=60)[1] for maker in makers]
    assert errors == [""] * 4


def test_threads_share_a_store(store: Store, study_id: int) -> None:
    def work(thread: int) -> None:
        for step in range(20):
            with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
                ticket = turn.create(Proposal({"x": 0.1}, {"depth": step}, f"{thread}-{step}"))
            assert store.tell(study_id, ticket, Outcome("complete", (1.0, 2.0)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trial.number for trial in store.trials(study_id)] == list(range(80))


def test_one_worker_of_two_opens_the_same_study(store: Store, study: StudyRecord, study_id: int) -> None:
    with Store.open(store.url) as other:
        assert other.create_study(study) == study_id
        assert store.claim(study_id, "supernet", worker_name(), 60)
        assert not other.claim(study_id, "supernet", worker_name(), 60)


def test_threads_that_end_give_their_connections_back(store: Store, study_id: int) -> None:
    def renew() -> None:
        assert not store.renew(study_id, Ticket(9, 1), 60)

    def connections() -> int:
        return len([file for file in Path("/proc/self/fd").iterdir() if "study.db" in str(file.resolve())])

    renew()
    before = connections()
    for _ in range(20):
        thread = threading.Thread(target=renew)
        thread.start()
        thread.join()
    assert connections() <= before + 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_its_own_connection(store: Store, study_id: int) -> None:
    child = os.fork()
    if child == 0:
        with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
            turn.create(Proposal({"x": 0.1}, {"depth": 1}, "child"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with store.asking(study_id, worker_name(), lease_seconds=60) as turn:
        assert [trial.arch_key for trial in turn.news] == ["child"]
        turn.create(Proposal({"x": 0.1}, {"depth": 2}, "parent"))
    assert store.reap(study_id) == [0]
