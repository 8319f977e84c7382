"""Who holds a trial or a long job, and whether it still can.

A worker is "host:pid:random". Its lease runs out by the clock; on the same host it also ends with its process.
Machines that share a store should agree on the time to well within a lease.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def worker_name() -> str:
    """A name for this process, unlike any other."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def is_alive(worker: str, lease_expires: float, now: float) -> bool:
    """Whether a worker may still be at work: its lease holds and its process, if it is ours to see, exists."""
    if lease_expires <= now:
        return False
    host, _, rest = worker.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return True
    return _process_exists(int(rest))


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A killed process stays in the table until its parent looks; Linux says so in /proc."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] == ["Z"]
