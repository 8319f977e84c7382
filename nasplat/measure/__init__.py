"""What a network costs: its size by counting, its latency by measuring, on a device that is named."""

from __future__ import annotations

from nasplat.measure.device import DeviceInfo, device_info, pick_device
from nasplat.measure.latency import NOISY_SPREAD, LatencyResult, Repeats, measure_latency
from nasplat.measure.operations import OperationCosts, measure_operations, operations
from nasplat.measure.size import count_macs, count_params

__all__ = [
    "NOISY_SPREAD",
    "DeviceInfo",
    "LatencyResult",
    "OperationCosts",
    "Repeats",
    "count_macs",
    "count_params",
    "device_info",
    "measure_latency",
    "measure_operations",
    "operations",
    "pick_device",
]
