"""The study: a page that says what to search for, a store that remembers, and the loop between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasplat.study.study import Study, open_study

if TYPE_CHECKING:
    from nasplat.study.run import RunSummary, Watcher
    from nasplat.study.training import TrainedSupernet

__all__ = ["RunSummary", "Study", "TrainedSupernet", "Watcher", "open_study"]


def __getattr__(name: str) -> Any:
    if name in ("RunSummary", "Watcher"):  # the loop needs torch, reading a study does not
        from nasplat.study import run

        return getattr(run, name)
    if name == "TrainedSupernet":
        from nasplat.study.training import TrainedSupernet

        return TrainedSupernet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
