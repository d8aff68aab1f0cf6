"""What the machine's NVIDIA GPUs are doing, by their driver's own library (NVML)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import pynvml

from web.queries import Row


def readings() -> list[Row]:
    """Name, percent busy and memory of each GPU; empty where there is none, or no driver."""
    try:
        with _driver():
            return [_reading(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


@contextmanager
def _driver() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _reading(number: int) -> Row:
    device = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    name = pynvml.nvmlDeviceGetName(device)
    return {
        "number": number,
        "name": name.decode() if isinstance(name, bytes) else name,
        "busy_percent": pynvml.nvmlDeviceGetUtilizationRates(device).gpu,
        "memory_gib": round(memory.used / 2**30, 1),
        "of_gib": round(memory.total / 2**30, 1),
    }
