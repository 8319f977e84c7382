"""How well are latencies predicted, from many networks of a device, and from ten of a new one?

    python studies/latency_prediction/run.py [--quick] [--table]

One process of one thread, in which all data stay. Every finished device is appended to results.csv at once; run again,
and it goes on with the devices that are missing. --table only prints the tables of what is there; --quick does three
devices of HAT in a temporary folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # what the studies have in common

from jobs import Job, work
from ledger import append, folder, options, read
from published import PUBLISHED, published
from tables import tables

HERE = Path(__file__).resolve().parent


def jobs(quick: bool) -> Iterator[Job]:
    """Every device of every benchmark, learned from its own latencies and from the others."""
    for name in ("hat",) if quick else PUBLISHED:
        devices = list(published(name).latencies)[: 3 if quick else None]
        for part in ("device", "transfer"):
            yield from (Job(part, name, device, 1 if quick else 3) for device in devices)


def main() -> None:
    """Run what is missing, then print the tables."""
    asked = options(__doc__).parse_args()
    with folder(HERE, asked.quick) as place:
        path = place / "results.csv"
        done = set(read(path)["job"])
        for job in () if asked.table else jobs(asked.quick):
            if job.name not in done:
                append(path, work(job))
                print(job.name, flush=True)
        print(tables(read(path)))


if __name__ == "__main__":
    main()
