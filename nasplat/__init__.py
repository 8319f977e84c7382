"""nasplat: search neural architectures, measure them on your device, export plain PyTorch networks.

study = nasplat.open_study("studies/quickstart"); study.run(); study.front(); study.export("knee", "out")

Everything here is loaded at first use, so that reading a study does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasplat.channels import channel_spec, parameter_graph
    from nasplat.data import Dataset, Split, Task, load_data
    from nasplat.elastic import ElasticSpace, extract, recalibrate, subnet_graph
    from nasplat.errors import NasplatError
    from nasplat.export import export_network, load_bundle
    from nasplat.measure import count_macs, count_params, measure_latency
    from nasplat.plugins import load
    from nasplat.prune import load_plan, plan_pruning
    from nasplat.scoring import score
    from nasplat.search import RegularizedEvolutionSampler
    from nasplat.space import Arch, Space, categorical, ordinal, positions, subset
    from nasplat.store import OptunaStorage, Store
    from nasplat.study import Study, open_study
    from nasplat.supernet import train, train_network
    from nasplat.zoo import open_zoo

__version__ = "0.1.0"

_ROOMS = {
    "channels": ("channel_spec", "parameter_graph"),
    "data": ("Dataset", "Split", "Task", "load_data"),
    "elastic": ("ElasticSpace", "extract", "recalibrate", "subnet_graph"),
    "errors": ("NasplatError",),
    "export": ("export_network", "load_bundle"),
    "measure": ("count_macs", "count_params", "measure_latency"),
    "plugins": ("load",),
    "prune": ("load_plan", "plan_pruning"),
    "scoring": ("score",),
    "search": ("RegularizedEvolutionSampler",),
    "space": ("Arch", "Space", "categorical", "ordinal", "positions", "subset"),
    "store": ("OptunaStorage", "Store"),
    "study": ("Study", "open_study"),
    "supernet": ("train", "train_network"),
    "zoo": ("open_zoo",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Arch",
    "Dataset",
    "ElasticSpace",
    "NasplatError",
    "OptunaStorage",
    "RegularizedEvolutionSampler",
    "Space",
    "Split",
    "Store",
    "Study",
    "Task",
    "categorical",
    "channel_spec",
    "count_macs",
    "count_params",
    "export_network",
    "extract",
    "load",
    "load_bundle",
    "load_data",
    "load_plan",
    "measure_latency",
    "open_study",
    "open_zoo",
    "ordinal",
    "parameter_graph",
    "plan_pruning",
    "positions",
    "recalibrate",
    "score",
    "subnet_graph",
    "subset",
    "train",
    "train_network",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'nasplat' has no attribute {name!r}")
    value = getattr(import_module(f"nasplat.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
