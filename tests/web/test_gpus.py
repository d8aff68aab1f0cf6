"""The Operations page knows the GPUs of its machine, and a machine without any."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from web import gpus


def test_each_gpu_says_how_busy_and_how_full_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetName": lambda number: f"NVIDIA {number}",
        "nvmlDeviceGetMemoryInfo": lambda number: SimpleNamespace(
            used=(number + 1) * 2**30, total=80 * 2**30
        ),
        "nvmlDeviceGetUtilizationRates": lambda number: SimpleNamespace(gpu=40 + number),
    }
    for name, does in said.items():
        monkeypatch.setattr(pynvml, name, does)
    first, second = gpus.readings()
    assert first == {
        "number": 0,
        "name": "NVIDIA 0",
        "busy_percent": 40,
        "memory_gib": 1.0,
        "of_gib": 80.0,
    }
    assert (second["busy_percent"], second["memory_gib"]) == (41, 2.0)


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", nothing)
    assert gpus.readings() == []
