"""Published benchmark tables, as they lie below NASPLAT_DATA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from nasplat.table.table import Column

Kind = tuple[str, str, str | None]
"""A pattern of names of columns, their unit and their better end, where there is one for all tables."""

PERCENT = ("%", "maximize")
CLOCK = ("ms", "minimize")
PROXIES = "synflow", "grasp", "fisher", "grad_norm", "l2_norm", "plain", "nwot", "epe_nas", "jacov", "snip"
"""Which end of them is better differs from table to table: a study has to say what it wants."""

SIZES: tuple[Kind, ...] = (("flops_m", "M", "minimize"), ("params_m", "M", "minimize"))
SCORED: tuple[Kind, ...] = (*SIZES, *((name, "1", None) for name in PROXIES))
GPUS: tuple[Kind, ...] = tuple((f"{name}_*", *CLOCK) for name in ("1080ti", "2080ti", "titanx", "titanxp"))
OTHERS = "essential_ph_1 eyeriss fpga gold_6226 gold_6240 pixel2 pixel3 samsung_a50 samsung_s7 silver_4114 silver_4210r"
HELP: tuple[Kind, ...] = (*GPUS, *((name, *CLOCK) for name in OTHERS.split()))
"""The devices of HELP (arXiv:2106.08630); eyeriss, fpga and pixel3 are those of HW-NAS-Bench (arXiv:2103.10584)."""


@dataclass(frozen=True, slots=True)
class Known:
    """A published table.

    files: below NASPLAT_DATA; further ones are joined to the first by the column `join`, and need not hold all rows.
    key: the columns of the key. space: the built-in space whose architectures the rows are, where there is one.
    kinds: what the columns of numbers hold. where: the rows that belong to it, as a value by column. columns: other
    names for columns of the file. missing: the number that stands for "no value". source: papers.
    """

    files: tuple[str, ...]
    key: tuple[str, ...]
    space: str | None
    kinds: tuple[Kind, ...]
    source: str
    join: str = "index"
    where: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    missing: float | None = None

    def column(self, name: str) -> Column | None:
        """What a column holds; None for one that holds no numbers of architectures."""
        for pattern, unit, direction in self.kinds:
            if fnmatchcase(name, pattern):
                return Column(name, unit, direction)
        return None


NB201 = Known(
    files=(
        "nb201/nb201_accuracy.csv.gz",
        "nb201/nb201_latency_ms.csv.gz",
        "nb201/nb201_latency_sample1999_ms.csv.gz",
    ),
    key=("arch_str",),
    space="nasbench201",
    kinds=(
        ("params", "1", "minimize"),
        ("macs", "1", "minimize"),
        ("c10*", *PERCENT),
        ("zen_*", "1", "maximize"),
        *HELP,
        *((name, *CLOCK) for name in ("edgegpu", "edgetpu", "*_eagle", "*_oneproxy")),
    ),
    source="NAS-Bench-201 (arXiv:2001.00326); latencies of HELP (arXiv:2106.08630), HW-NAS-Bench (arXiv:2103.10584), "
    "BRP-NAS (arXiv:2007.08668) and OneProxy (arXiv:2111.01203); zen-scores (arXiv:2102.01063)",
    missing=-1e8,
)


def _scored(file: str, key: str, space: str, value: tuple[str, str], dataset: str) -> Known:
    """One data set of NAS-Bench-Suite-Zero (arXiv:2210.03230): zero-cost scores beside the accuracy."""
    return Known(
        files=(f"zero_cost/{file}.csv.gz",),
        key=(key,),
        space=space,
        kinds=(("val_accuracy", *value), *SCORED),
        source="NAS-Bench-Suite-Zero (arXiv:2210.03230)",
        where={"dataset": dataset},
        missing=-1e8,
    )


TASKS = {
    "class_scene": PERCENT,
    "jigsaw": PERCENT,
    "segmentsemantic": PERCENT,
    "autoencoder": ("1", "maximize"),  # SSIM
    "normal": ("1", "maximize"),  # SSIM
    "room_layout": ("1", "maximize"),  # minus the loss
}
"""The tasks of TransNAS-Bench-101 (arXiv:2105.11871), and what `val_accuracy` is in each."""

GRAPH: tuple[Kind, ...] = (
    *((name, "1", "maximize") for name in ("valid_perf", "perf")),
    ("latency_s", "s", "minimize"),
    ("params_m", "M", "minimize"),
)


def _graph(dataset: str) -> Known:
    return Known(
        files=(f"nas_bench_graph/{dataset}.csv.gz",),
        key=("link", "ops"),
        space="nas_bench_graph",
        kinds=GRAPH,
        source="NAS-Bench-Graph (arXiv:2206.09166)",
    )


KNOWN: dict[str, Known] = {
    "nb201": NB201,
    **{
        f"nb201_zc/{d}": _scored("nb201_zc", "arch_str", "nasbench201", PERCENT, d)
        for d in ("cifar10", "cifar100")
    },
    "nb101": _scored("nb101_zc", "arch", "nasbench101", PERCENT, "cifar10"),
    "nb301": _scored("nb301_zc", "arch", "nasbench301", PERCENT, "cifar10"),
    **{
        f"transnas_{kind}/{task}": _scored(
            f"transnasbench101_{kind}_zc", "arch", f"transnas_{kind}", value, task
        )
        for kind in ("micro", "macro")
        for task, value in TASKS.items()
    },
    **{f"nas_bench_graph/{d}": _graph(d) for d in ("cora", "arxiv", "proteins")},
    "fbnet": Known(
        files=("fbnet/fbnet_latency_ms.csv.gz",),
        key=("arch",),
        space="fbnet",
        kinds=HELP,
        source="latencies of HELP (arXiv:2106.08630) on the space of FBNet (arXiv:1812.03443)",
    ),
    "ofa": Known(
        files=("ofa/ofa_latency_ms.csv.gz",),
        key=("ks", "e", "d", "r"),
        space="ofa",
        kinds=tuple((f"{name}_*", *CLOCK) for name in ("2080ti", "titan_xp", "v100")),
        source="latencies of HELP (arXiv:2106.08630) on the space of Once-for-All (arXiv:1908.09791)",
    ),
    "pooling": Known(
        files=("pooling/resnet20_cifar10.csv",),
        key=(),
        space="pooling",
        kinds=(("*_acc*", *PERCENT), ("scratch_std", "%", "minimize")),
        source="Balanced Mixture of SuperNets (arXiv:2306.11982)",
        columns={"layout": "pools"},
    ),
}
