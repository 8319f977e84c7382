"""Looking at a training by the probes that a page names; what they see becomes rows of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nasplat.files import json_hash
from nasplat.measure import pick_device
from nasplat.metric import Workbench
from nasplat.store import ObservationRecord
from nasplat.study.shelf import Shelf
from nasplat.supernet.probes import Look, Probe, Tally, look


@dataclass(frozen=True, slots=True)
class Observer:
    """Looks at a training whose weights have the given origin; `alive` says that a long look goes on."""

    bench: Workbench
    shelf: Shelf
    origin: Mapping[str, Any]
    probes: Mapping[str, Probe]
    tally: Tally
    alive: Callable[[], None]

    def watch(self, net: nn.Module, every: int, epochs: int) -> Callable[[int], None] | None:
        """What the loop calls after an epoch: it looks after each `every`-th one and after the last."""

        def after_epoch(epoch: int) -> None:
            if epoch % every == 0 or epoch == epochs:
                self.look(net, epoch)

        return after_epoch if self.probes else None

    def look(self, net: nn.Module, epoch: int) -> None:
        """Ask every probe, and store what they see in one transaction."""
        at, before, seen = self._at(net, epoch), self._before(epoch), []
        for name, probe in self.probes.items():
            seen.append(ObservationRecord(name, epoch, look(at, probe, before.get(name)), probe.unit))
            self.alive()
        self.shelf.store.observe(self.shelf.study_id, self.origin, seen)

    def _at(self, net: nn.Module, epoch: int) -> Look:
        bench = self.bench
        return Look(
            net,
            bench.space,
            bench.need_data("accuracy"),
            epoch,
            device=pick_device(bench.device),
            seed=bench.seed,
            calibration=bench.calibration_inputs(),
            raw=not bench.calibration_batches,
            asked=self.tally.take(),
        )

    def _before(self, epoch: int) -> dict[str, Mapping[str, Any]]:
        """What each probe saw at its last look: a resumed training compares with what was before it stopped."""
        rows = self.shelf.store.observations(self.shelf.study_id)
        ours = json_hash(dict(self.origin))
        return {row.probe: row.values for row in rows if row.origin_hash == ours and row.epoch < epoch}
