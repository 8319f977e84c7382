"""nasplat train: what it prints, how it ends, and two processes that share the work."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nasplat import open_study
from nasplat.cli.progress import Lines
from nasplat.study import method
from nasplat.supernet import Settings

Nasplat = Callable[..., Any]
PAGE = """
study = {name = "toy", trials = 2}
data = {name = "toy.py:images"}
space = {name = "elastic_convnet", stages = 1, depth = [1, 2], width = [2, 4], kernel = [1, 3]}
supernet = {epochs = 2, batch_size = 32}
objective = [{metric = "accuracy"}]
"""


@pytest.fixture
def page(folder: Path) -> Path:
    """The page of a study with a supernet, in the folder with the toy file."""
    (folder / "study.toml").write_text(PAGE)
    return folder / "study.toml"


def change(page: Path, old: str, new: str) -> None:
    page.write_text(page.read_text().replace(old, new))


def test_train_prints_the_weights_a_table_and_the_next_command(nasplat: Nasplat, page: Path) -> None:
    said = nasplat("train", page.parent)
    lines = said.out.splitlines()
    assert (said.code, said.err) == (0, "")
    assert lines[0] == "training the supernet of elastic_convnet (12 architectures)"
    assert re.fullmatch(r"training 6/6 steps  loss [\d.]+  first [\d.]+", lines[-9])
    assert re.fullmatch(
        r"trained 2 epochs in \d+\.\d s, loss [\d.]+ \([\d.]+ of the first network\)", lines[-8]
    )
    assert Path(lines[-7].removeprefix("weights: ")).is_file()
    assert lines[-6].rstrip() == "Subnets, validation split"
    assert [row.split()[0] for row in lines[-5:-1]] == ["subnet", "smallest", "median", "largest"]
    assert lines[-1] == f"next: nasplat run {page.parent}"
    again = nasplat("train", page)
    assert again.code == 0
    assert again.out.splitlines()[0] == lines[-7].replace("weights", "trained already", 1)
    assert again.out.splitlines()[1:-1] == lines[-6:-1]
    run = nasplat("run", page)
    assert run.code == 0
    assert "training the supernet" not in run.out


def test_train_that_is_interrupted_says_how_to_go_on(
    nasplat: Nasplat, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "Settings", partial(Settings, pulse=0))

    def press(self: Lines, done: int, total: int, figures: object) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as pressing:
        pressing.setattr(Lines, "training", press)
        said = nasplat("train", page)
    assert said.code == 130
    assert said.err == f"interrupted; nothing is lost. go on with: nasplat train {page}\n"
    assert "(12 architectures) from its checkpoint" in nasplat("train", page).out


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "supernet = {epochs = 2, batch_size = 32}\n",
            "",
            r"has no \[supernet\] table, so there is nothing to train",
        ),
        (
            "epochs = 2",
            "learning_rate = 1e30",
            r"the loss became \w+ in step \d+ of \d+, in .* architectures, first ",
        ),
        ("epochs = 2", 'method = "sandwhich"', "did you mean 'sandwich'"),
        ("epochs = 2", 'probes = ["laod"]', "did you mean 'load'"),
        ("epochs = 2", 'start = "toy.py"', "toy.py cannot be read"),
        ("epochs = 2", 'mixture = {kind = "moo"}', "did you mean 'moe'"),
        ("epochs = 2", 'mixture = {kind = "moe", expert = 2}', "did you mean 'experts'"),
        (
            "epochs = 2",
            'mixture = {kind = "moe", layers = ["block.*"]}',
            r"no elastic layer matches 'block\.\*'",
        ),
    ],
)
def test_mistake_ends_with_code_1_and_one_line(
    nasplat: Nasplat, page: Path, old: str, new: str, line: str
) -> None:
    change(page, old, new)
    said = nasplat("train", page)
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert re.search(line, said.err), said.err
    assert not list(page.parent.rglob("*.safetensors"))


def test_two_processes_train_one_supernet_and_the_first_one_speaks(nasplat: Nasplat, page: Path) -> None:
    change(page, "batch_size = 32", 'batch_size = 32, probes = ["load", "full_net_dip"]')
    (leader, out), (follower, silence) = together("train", page)
    assert (leader, follower, silence) == (0, 0, "")
    assert "trained 2 epochs" in out
    assert json.loads(nasplat("status", page, "--json").out)["observations"] == {"full_net_dip": 2, "load": 2}
    rows = open_study(page).probes().query("name == 'architectures'")
    assert rows["value"].tolist() == [12, 12]  # each process trains the same architectures, counted once
    assert nasplat("train", page).out.startswith("trained already: ")


def test_two_processes_train_a_mixture_to_the_weights_of_one(nasplat: Nasplat, page: Path) -> None:
    change(page, "batch_size = 32", 'batch_size = 32, mixture = {kind = "moe", experts = 2, per = "neuron"}')
    change(page, "stages = 1", 'stages = 1, norm = "group"')  # one that does not see the rest of a batch
    alone = page.parent / "alone"
    shutil.copytree(page.parent, alone)
    (leader, out), (follower, silence) = together("train", page)
    assert (leader, follower, silence) == (0, 0, "")
    assert "weights shared by moe: " in out
    assert "times those of plain slicing" in out
    assert nasplat("train", alone).code == 0
    ours, theirs = (load_file(next(folder.glob("artefacts/*/supernet-*"))) for folder in (page.parent, alone))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert "training the supernet" not in nasplat("run", page).out


def together(command: str, page: Path) -> list[tuple[int, str]]:
    """Exit code and words of each of two processes, started as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nasplat", command, str(page), "--device", "cpu"],
            env=os.environ | where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]
