"""Whether this machine is fit: versions, extras, devices, writing, and a search that takes seconds."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from nasplat.files import write_atomic

NEEDED = ("nasplat", "torch", "torch-geometric", "optuna", "sqlalchemy", "alembic", "pandas", "moocore")
EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "notebook": ("ipykernel", "nbclient")}


def checkup() -> dict[str, str]:
    """One line for each thing looked at; what does not work starts with "broken"."""
    found = {"python": platform.python_version()}
    found |= {name: metadata.version(name) for name in NEEDED}
    for extra, packages in EXTRAS.items():
        missing = [p for p in packages if find_spec(p) is None]
        found[f"extra {extra}"] = (
            f"absent; get it with: pip install 'nasplat[{extra}]'" if missing else "there"
        )
    with tempfile.TemporaryDirectory(prefix="nasplat-doctor-") as folder:
        checks = {
            "devices": _devices,
            "writing": lambda: _writing(Path(folder)),
            "search": lambda: _search(Path(folder)),
        }
        found |= {name: _attempt(check) for name, check in checks.items()}
    return found


def _attempt(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        return f"broken: {type(error).__name__}: {error}"


def _devices() -> str:
    import torch

    from nasplat.measure import device_info

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ", ".join(f"{name}: {device_info(name).name}" for name in ["cpu", *gpus])


def _writing(folder: Path) -> str:
    write_atomic(folder / "probe", b"x" * 2**20)
    free = shutil.disk_usage(folder).free / 2**30
    return f"works; {free:.0f} GiB free in {folder.parent}"


def _search(folder: Path) -> str:
    """The study that `nasplat init` writes, cut to three trials of one epoch."""
    from nasplat.study.study import open_study
    from nasplat.study.template import write_template

    page, _ = write_template(folder / "study")
    page.write_text(page.read_text().replace("epochs = 5", "epochs = 1"))
    start = perf_counter()
    study = open_study(page)
    summary = study.run(3)
    if summary.states.get("complete") != 3:
        return f"broken: 3 trials ended as {dict(summary.states)}"
    return f"works; 3 trials in {perf_counter() - start:.1f} s, {len(study.front())} on the front"
