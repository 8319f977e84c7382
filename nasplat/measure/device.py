"""Which device a number was measured on."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nasplat.errors import NasplatError
from nasplat.files import json_hash


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device by what decides its speed. Devices with equal fields measure alike.

    name "NVIDIA H200" or the processor's model, kind "cpu" or "cuda", driver the GPU driver or the system
    kernel, torch its version, cores the processor cores that this process may use.
    """

    name: str
    kind: str
    driver: str
    torch: str
    cores: int

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of the hash of all fields."""
        return json_hash(asdict(self))[:16]

    def to_json(self) -> dict[str, str | int]:
        """Fields and fingerprint as plain JSON values."""
        return {**asdict(self), "fingerprint": self.fingerprint}


def device_info(device: torch.device | str = "cpu") -> DeviceInfo:
    """What is known about a device of this machine."""
    device = pick_device(str(device))
    on_gpu = device.type == "cuda"
    return DeviceInfo(
        name=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        kind=device.type,
        driver=_gpu_driver() if on_gpu else f"{platform.system()} {platform.release()}",
        torch=torch.__version__,
        cores=_cores(),
    )


def pick_device(name: str) -> torch.device:
    """The device called "cpu", "cuda", "cuda:1" or "auto" (the first GPU, else the CPU).

    Raises NasplatError for any other name and for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise NasplatError(f"device {name!r} is unknown; choose 'cpu', 'cuda', 'cuda:0' or 'auto'")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(match[1] or 0) >= found:
        raise NasplatError(
            f"device {name!r} is not here: torch {torch.__version__} sees {found} GPUs; use 'cpu' or 'auto'"
        )
    return torch.device(name)


def _processor(table: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model; Linux tells it in a table, others by the platform."""
    if table.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", table.read_text(errors="replace"), re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _gpu_driver(table: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The driver's version where the system tells it, and the CUDA version that torch was built for."""
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"HIP {torch.version.hip}"
    if table.is_file():
        match = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", table.read_text(errors="replace"))
        if match:
            return f"{match[1]}, {built}"
    return built


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
