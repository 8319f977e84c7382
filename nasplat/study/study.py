"""A study: its page, its record, and what one can do with it. Reading loads neither torch nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasplat.errors import NasplatError
from nasplat.study.file import study_path
from nasplat.study.folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nasplat.export import Bundle
    from nasplat.prediction import Card
    from nasplat.study.run import RunSummary, Watcher
    from nasplat.study.training import TrainedSupernet
    from nasplat.study.trial import Trial


def open_study(place: Path | str) -> Study:
    """The study of a `study.toml`, or of the folder that holds one. Nothing is run or created."""
    return Study(study_path(place))


class Study(StudyFolder):
    """What a study file describes and a store remembers.

    Numbers of trials are those of the store; every method that reads sees what other workers have written by then.
    """

    def __repr__(self) -> str:
        try:
            return f"Study({self.name!r}, {len(self.frame)} trials, {len(self.front())} on the front)"
        except NasplatError:
            return f"Study({self.name!r}, not run yet)"

    def train(self, *, device: str | None = None, watcher: Watcher | None = None) -> TrainedSupernet | None:
        """Train the study's supernet alone: start, resume, wait for who trains it, or find it trained.

        Under torchrun all processes train together; what is returned is None in all but the first one.
        """
        from nasplat.study.training import train_study

        return train_study(self, device, watcher)

    def run(
        self,
        trials: int | None = None,
        *,
        timeout: float | None = None,
        device: str | None = None,
        watcher: Watcher | None = None,
    ) -> RunSummary:
        """Start, resume or join the study until it has `trials` trials in all (the page's number if None).

        timeout: seconds of this call. device: where networks are trained and measured ("cpu", "cuda", "auto").
        Ctrl-C is safe at any moment: run again and the study goes on.
        """
        from nasplat.study.assembly import run_study

        return run_study(self, trials, timeout, device, watcher)

    @property
    def frame(self) -> pd.DataFrame:
        """All trials as a table, a row each; the columns are described at `nasplat.study.frames.trial_frame`."""
        from nasplat.study.frames import trial_frame

        return trial_frame(self.store, self.record, self.page.metrics)

    def probes(self) -> pd.DataFrame:
        """What the page's probes saw while supernets were trained, a row for each number.

        The columns are described at `nasplat.study.frames.probe_frame`.
        """
        from nasplat.study.frames import probe_frame

        return probe_frame(self.store.observations(self.record.id))

    def front(self) -> pd.DataFrame:
        """The trials that no other one dominates, among those that keep all constraints."""
        from nasplat.study.frames import front_frame

        return front_frame(self.frame, self.record.objectives)

    def plot_front(self, path: Path | str | None = None) -> Figure:
        """The picture of the front, with error bars where a metric has a spread; saved where `path` says."""
        from nasplat.report import plot_front

        record = self.record
        directions = dict(zip(record.objectives, record.directions, strict=True))
        path = None if path is None else Path(path)
        return plot_front(self.frame, directions, units=self.units, title=self.name, path=path)

    def select(self, which: str | int) -> int:
        """The trial number of "knee", "best:METRIC" or a number, among complete trials."""
        from nasplat.study.selection import select

        return select(self.frame, self.record, which)

    def __getitem__(self, which: int | str) -> Trial:
        """One trial: study[17], study["knee"], study["best:accuracy"]."""
        from nasplat.study.trial import Trial

        return Trial(self, self.select(which) if isinstance(which, str) else which)

    def export(
        self,
        which: str | int,
        folder: Path | str,
        formats: Sequence[str] = ("state",),
        *,
        overwrite: bool = False,
    ) -> Bundle:
        """Write the network of a trial as files that load without nasplat, each verified in a fresh process."""
        from nasplat.study.deliver import export_trial

        return export_trial(self, self.select(which), Path(folder), formats, overwrite)

    def enqueue(self, *architectures: Mapping[str, Any], device: str | None = None) -> list[int | None]:
        """Ask for architectures that must be evaluated, whatever bounds and filter say.

        Their trial numbers; None for what the study has already. One that a bound or the filter had dropped is taken up
        again under its number. One that is not in the space enqueues none.
        """
        from nasplat.study.assembly import enqueue

        return enqueue(self, architectures, device)

    def scores(
        self,
        names: Sequence[str] = ("all",),
        *,
        samples: int = 100,
        of_trials: bool = False,
        batch: int = 64,
        device: str = "cpu",
        workers: int = 1,
        watcher: Watcher | None = None,
    ) -> pd.DataFrame:
        """Zero-cost scores of random architectures of the space, or of the study's trials, a row for each.

        The columns are described at `nasplat.study.scores.score_study`. What the store knows is not computed again,
        and what comes is stored at once. workers: processes that score at once on the device. One small network leaves
        a GPU idle most of the time: give it about as many as there are processor cores; each takes some hundred MiB
        of its memory. On the CPU they share the threads of this process: one a core is the most that helps, where
        networks are small. A value does not depend on their number, up to the rounding of a sum that more or fewer
        threads share. A script with several workers calls this below `if __name__ == "__main__":`.
        """
        from nasplat.study.scores import Question, score_study

        question = Question(tuple(names), samples, of_trials, batch, device, workers)
        return score_study(self, question, watcher)

    def fit(
        self,
        plug_in: str,
        metric: str,
        folder: Path | str,
        *,
        pool: str | None = None,
        watcher: Watcher | None = None,
        **arguments: Any,
    ) -> Card:
        """Fit a predictor on what the study has measured and keep it in a folder; its card has cross-validated figures.

        arguments: of the plug-in. pool: the folder or the name of known devices, for "latency_transfer".
        `load_predictor(folder)` gives it back, and a study file may name it.
        """
        from nasplat.study.fit import Order, fit_predictor

        return fit_predictor(self, Order(plug_in, metric, arguments, pool=pool), Path(folder), watcher)

    def profile(self, samples: int = 100, device: str | None = None) -> Mapping[str, Any]:
        """What to expect before anything runs: sizes and latency over the space, constraints, time."""
        from nasplat.study.profile import profile

        return profile(self, samples, device)
