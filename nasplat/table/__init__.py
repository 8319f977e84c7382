"""Tables: numbers of architectures that others have measured, found by key.

table = open_table("nb201")                      # a published benchmark below NASPLAT_DATA
own = open_table("mine.csv", base=folder)        # anyone's CSV or Parquet file with a key column
row = table.rows_of(space)(arch)                 # the number of an architecture's row
accuracies = table.numbers("c10_test_e200")      # an array with a number for each row, NaN where there is none
"""

from __future__ import annotations

from nasplat.table.known import KNOWN
from nasplat.table.listed import Listed
from nasplat.table.opening import open_table
from nasplat.table.table import Column, Table

__all__ = ["KNOWN", "Column", "Listed", "Table", "open_table"]
