"""Networks as files that load without nasplat, verified before they appear.

`export_network` writes a bundle; `check_bundle` and `load_bundle` read one; `load_program` reads a `.pt2` file that
needs no pickle.
"""

from nasplat.export.bundle import Bundle, check_bundle, load_bundle
from nasplat.export.export import check_folder, export_network
from nasplat.export.formats import FORMATS
from nasplat.export.program import check_program, load_program
from nasplat.export.source import network_source

__all__ = [
    "FORMATS",
    "Bundle",
    "check_bundle",
    "check_folder",
    "check_program",
    "export_network",
    "load_bundle",
    "load_program",
    "network_source",
]
