"""Why a score has no value."""

from __future__ import annotations


class NotApplicable(Exception):
    """The score is not defined for this kind of network or batch."""


class Undefined(Exception):
    """The score is defined for this kind of network, and has no finite value for this one."""
