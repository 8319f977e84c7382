"""az_complexity: the size of a network as AZ-NAS counts it."""

from __future__ import annotations

from dataclasses import replace

from nasplat.scoring import Score

from .macs import SCORE as MACS

SCORE: Score = replace(
    MACS,
    name="az_complexity",
    paper="AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, arXiv:2403.19232",
)
