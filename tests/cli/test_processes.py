"""Where the process matters: Ctrl-C, and the traceback of --debug."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasplat import open_study

Nasplat = Callable[..., Any]


def test_ctrl_c_ends_with_code_130_and_the_next_run_finishes(nasplat: Nasplat, folder: Path) -> None:
    page = folder / "study.toml"
    page.write_text(page.read_text().replace("toy.py:gain", "toy.py:counted"))
    command = [sys.executable, "-c", "from nasplat.cli import main; main()", "run", str(folder)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PAUSE": "0.3", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )
    calls = folder / "calls.txt"
    end = time.monotonic() + 60
    while not (calls.exists() and len(calls.read_text().splitlines()) >= 3):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == f"interrupted; nothing is lost. go on with: nasplat run {folder}\n"
    assert "Traceback" not in out
    assert nasplat("run", folder).code == 0
    assert open_study(folder).frame["state"].tolist() == ["complete"] * 12


def test_debug_shows_the_traceback_of_a_real_process(folder: Path) -> None:
    command = [sys.executable, "-c", "from nasplat.cli import main; main()", "--debug", "front", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "nasplat run" in done.stderr.splitlines()[-1]
