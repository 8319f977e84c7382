"""The files that a study keeps: weights of its supernet, and of networks that were trained alone.

They lie beside the store, in `artefacts/<study>/`. A file is written before the row that holds its content hash, so a
row whose file is gone or changed is known as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nasplat.errors import StoreError
from nasplat.files import file_hash, json_hash
from nasplat.metric import Candidate
from nasplat.space import Arch, Space
from nasplat.store import ArtefactRecord, Store
from nasplat.supernet import load_weights, save_weights

SUPERNET = "supernet"


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
