"""Zoos: many small trained networks in one file with a table of facts about each, to learn from."""

from nasplat.zoo.classifiers import Classifiers
from nasplat.zoo.families import FAMILIES, Form
from nasplat.zoo.folder import read_zoo
from nasplat.zoo.group import DIVERGED, TRAINED, Group, Skipped
from nasplat.zoo.run import train_zoo
from nasplat.zoo.samples import alike, samples
from nasplat.zoo.siren import Siren, SirenForm, places, render
from nasplat.zoo.sirens import Sirens
from nasplat.zoo.zoo import Zoo, open_zoo

__all__ = [
    "DIVERGED",
    "FAMILIES",
    "TRAINED",
    "Classifiers",
    "Form",
    "Group",
    "Siren",
    "SirenForm",
    "Sirens",
    "Skipped",
    "Zoo",
    "alike",
    "open_zoo",
    "places",
    "read_zoo",
    "render",
    "samples",
    "train_zoo",
]
