"""The network of an architecture as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasplat.data import random_inputs
from nasplat.draw import draw
from nasplat.errors import InvalidStudy
from nasplat.study.assembly import make_space
from nasplat.study.folder import StudyFolder


def picture(study: StudyFolder, choices: Mapping[str, Any], title: str) -> str:
    """The network as SVG. Its weights do not matter for that, so neither they nor the data are read."""
    space = make_space(study, study.record.config["space_arguments"])
    if space.input_shape is None:
        raise InvalidStudy(
            f"space {space.name!r} has no input_shape, so its networks cannot be drawn; give it one"
        )
    arch = space.arch(choices)
    example = random_inputs(1, space.input_shape, getattr(space, "vocabulary", None))
    return draw(space.build(arch), example, title=title, key=arch.key)
