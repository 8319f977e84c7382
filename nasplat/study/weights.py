"""The weights that a study keeps: its trained supernet, and networks that were trained alone.

They are files beside the store, in `artefacts/<study>/`. A file is written before the row that holds its content
hash, so a row whose file is gone or changed is known as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep
from typing import Any

from torch import nn

from nasplat.errors import StoreError
from nasplat.files import file_hash, json_hash
from nasplat.metric import Candidate, Workbench
from nasplat.space import Arch, Space
from nasplat.store import ArtefactRecord, Store, worker_name
from nasplat.study.run import Watcher
from nasplat.study.worker import LEASE_SECONDS, LeaseLost
from nasplat.supernet import Method, Settings, load_weights, save_weights, train

SUPERNET = "supernet"
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """The artefacts of one study; `folder` is the study's, to which paths in the store are relative."""

    store: Store
    study_id: int
    folder: Path
    study: str

    def path(self, name: str) -> Path:
        """Where a file of this name belongs."""
        return self.folder / "artefacts" / self.study / name

    def find(self, kind: str, origin: Mapping[str, Any]) -> tuple[Path, ArtefactRecord] | None:
        """A stored file of this origin, of this study or a neighbour, that is still whole; None when there is none.

        Raises StoreError for a file that has changed since.
        """
        studies = [self.study_id, *(s.id for s in self.store.studies() if s.id != self.study_id)]
        rows = (self.store.artefact(study, kind, json_hash(dict(origin))) for study in studies)
        row = next((row for row in rows if row and (self.folder / row.path).is_file()), None)
        if row is None:
            return None
        path = self.folder / row.path
        if file_hash(path) != row.content_hash:
            raise StoreError(f"{path} is not the file that was stored; delete it, and it is made again")
        return path, row

    def keep_supernet(self, name: str, net: nn.Module, origin: Mapping[str, Any]) -> None:
        """Keep a supernet. StoreError for one that was lost and came out otherwise when it was trained again."""
        path = self.path(name)
        known = self.store.artefact(self.study_id, SUPERNET, json_hash(dict(origin)))
        content = save_weights(net, path)
        if known is not None and known.content_hash != content:
            path.unlink()
            raise StoreError(
                f"the supernet of study {self.study!r} was lost, and training it again gave other weights (another "
                f"device or version), which do not compare with its trials: give the study another name"
            )
        self._note(SUPERNET, path, content, origin)

    def keep_trained(self, candidate: Candidate, training: Mapping[str, Any]) -> None:
        """Keep the weights of a candidate that was trained alone; `training` is the origin of its metric."""
        path = self.path(f"network-{candidate.arch.key}.safetensors")
        content = save_weights(candidate.network, path)
        origin = _network_origin(candidate.bench.space.hash, candidate.arch, training)
        self._note("network", path, content, origin)

    def _note(self, kind: str, path: Path, content: str, origin: Mapping[str, Any]) -> None:
        """Write the row of a file that is whole."""
        relative = str(path.relative_to(self.folder))
        self.store.put_artefact(self.study_id, kind, relative, content, dict(origin))

    def trained(self, space: Space, arch: Arch, training: Mapping[str, Any]) -> nn.Module | None:
        """The network with the weights that a training left, in evaluation mode; None where its file is gone."""
        found = self.find("network", _network_origin(space.hash, arch, training))
        if found is None:
            return None
        module = space.build(arch)
        load_weights(module, found[0])
        return module.eval()

    def restore_trained(self, candidate: Candidate, training: Mapping[str, Any]) -> bool:
        """Give a candidate the network that a training left; whether there is one."""
        network = self.trained(candidate.bench.space, candidate.arch, training)
        if network is not None:
            candidate.restore(network)
        return network is not None


def _network_origin(space_hash: str, arch: Arch, training: Mapping[str, Any]) -> dict[str, Any]:
    return {"space": space_hash, "arch": arch.key, "training": dict(training)}


def supernet_origin(bench: Workbench, method: str, recipe: Method) -> dict[str, Any]:
    """All that decides a supernet's weights."""
    return {
        "method": method,
        "recipe": asdict(recipe),
        "space": bench.space.hash,
        "data": bench.need_data("accuracy").identity,
        "seed": bench.seed,
    }


def ready_supernet(bench: Workbench, shelf: Shelf, method: str, recipe: Method, watcher: Watcher) -> None:
    """Put the trained supernet on the bench: from its file, or by training it, or by waiting for who does."""
    origin = supernet_origin(bench, method, recipe)
    worker = worker_name()
    waiting = False
    while shelf.find(SUPERNET, origin) is None:
        if shelf.store.claim(shelf.study_id, SUPERNET, worker, LEASE_SECONDS):
            try:
                _train(bench, shelf, origin, recipe, worker, watcher)
            except LeaseLost:
                watcher.say("another worker has taken over the training of the supernet")
            finally:
                shelf.store.unclaim(shelf.study_id, SUPERNET, worker)
        else:
            if not waiting:
                watcher.say("another worker trains the supernet; waiting for it")
            waiting = True
            sleep(_POLL_SECONDS)
    load_supernet(bench, shelf, method, recipe)


def load_supernet(bench: Workbench, shelf: Shelf, method: str, recipe: Method) -> None:
    """Put the trained supernet on the bench from its file; StoreError where that is gone."""
    found = shelf.find(SUPERNET, supernet_origin(bench, method, recipe))
    if found is None:
        raise StoreError(
            f"the weights of the supernet are gone from {shelf.path('')}; copy them back, or run the study again"
        )
    bench.supernet = bench.make_supernet()
    load_weights(bench.supernet, found[0])
    bench.supernet.to(bench.device).eval()
    bench.supernet_hash = found[1].content_hash


def _train(
    bench: Workbench, shelf: Shelf, origin: dict[str, Any], recipe: Method, worker: str, watcher: Watcher
) -> None:
    """Train the supernet, going on from a checkpoint if there is one, and put it on the shelf."""
    data = bench.need_data("accuracy")
    name = f"supernet-{json_hash(origin)[:12]}"
    checkpoint = shelf.path(f"{name}.checkpoint")

    def progress(done: int, total: int, figures: Mapping[str, float]) -> None:
        if not shelf.store.renew_claim(shelf.study_id, SUPERNET, worker, LEASE_SECONDS):
            raise LeaseLost
        watcher.training(done, total, figures)

    net = bench.make_supernet()
    resumed = " from its checkpoint" if checkpoint.exists() else ""
    watcher.say(f"training the supernet of {bench.space.name} ({bench.space.size:,} architectures){resumed}")
    settings = Settings(device=bench.device, seed=bench.seed, checkpoint=checkpoint, progress=progress)
    report = train(net, data, recipe.schedule(bench.space, data, bench.seed), recipe, settings)
    shelf.keep_supernet(f"{name}.safetensors", net, origin)
    checkpoint.unlink(missing_ok=True)
    watcher.say(f"trained {report.epochs} epochs in {report.seconds:.1f} s, loss {report.loss:.3g}")
