"""Data sets in three splits: by name, from published files or from a user's function."""

from nasplat.data.batches import batches, evaluate, packed, predict, random_inputs, take
from nasplat.data.dataset import CLASSIFICATION, Dataset, Split, Task
from nasplat.data.images import crop_and_flip
from nasplat.data.load import SOURCES, load_data
from nasplat.data.raw import data_root
from nasplat.data.seeds import derived_seed, generator
from nasplat.data.text import Vocabulary

__all__ = [
    "CLASSIFICATION",
    "SOURCES",
    "Dataset",
    "Split",
    "Task",
    "Vocabulary",
    "batches",
    "crop_and_flip",
    "data_root",
    "derived_seed",
    "evaluate",
    "generator",
    "load_data",
    "packed",
    "predict",
    "random_inputs",
    "take",
]
