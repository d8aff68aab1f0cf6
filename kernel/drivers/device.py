"""Where a model runs, with how many threads, and what ONNX Runtime is told of it.

Measured on CPUs only: what is said here of GPUs follows ONNX Runtime's documentation and is
unmeasured (docs/benchmarks.md says what was measured where).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import onnxruntime
import psutil

from kernel.drivers.base import DriverError

_WANTED: Final = re.compile(r"(auto|cpu|cuda|tensorrt)(?::(\d+))?")
GROUP: Final = Path("/sys/fs/cgroup")
"""Where a container finds its own limits (cgroup v2)."""
_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Device:
    """A processor for models."""

    kind: Literal["cpu", "cuda", "tensorrt"]
    index: int = 0
    """Of the GPU among those that the process sees."""

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU, by whichever provider."""
        return self.kind != "cpu"

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.gpu else self.kind


CPU: Final = Device("cpu")


def find(wanted: str = "auto") -> Device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:1`, `tensorrt` or `tensorrt:1`.

    `auto` is the first GPU where there is one, else the CPU.

    Raises:
        DriverError: there is no such device here.
    """
    said = _WANTED.fullmatch(wanted)
    if said is None or (said[2] and said[1] in {"auto", "cpu"}):
        raise DriverError(
            f"HEADRACE_DEVICE is {wanted!r}: it is one of auto, cpu, cuda, cuda:1, tensorrt"
        )
    kind, index = said[1], int(said[2] or 0)
    if kind == "cpu" or (kind == "auto" and not _has("cuda", 0)):
        return CPU
    found = Device("tensorrt" if kind == "tensorrt" else "cuda", index)
    if not _has(found.kind, index):
        raise DriverError(
            f"HEADRACE_DEVICE is {wanted!r}, but this process sees no such GPU or its ONNX "
            "Runtime cannot use one: check nvidia-smi, or set HEADRACE_DEVICE=auto"
        )
    return found


def _has(kind: str, index: int) -> bool:
    # The GPU wheel lists its providers also where there is no GPU; a device node tells.
    node = Path(f"/dev/nvidia{index}")
    return node.exists() and _PROVIDERS[kind] in onnxruntime.get_available_providers()


def usable_cores() -> int:
    """Cores that this process may run on: by its affinity, and by the quota of its group."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = (GROUP / "cpu.max").read_text().split()
        # More threads than the quota are stopped in the middle of a pass.
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no group, or one without a quota
        return allowed


def side_by_side(device: Device = CPU) -> int:
    """Passes to run at a time: one on each core, or two on a GPU, of which one copies.

    On a CPU so many passes of one thread each do a fifth to a third more than one pass of all
    threads, which wait for each other in every layer (docs/benchmarks.md).
    """
    return 2 if device.gpu else usable_cores()


def free_bytes() -> int:
    """Main memory that a model may still take, within the limits of this process's group.

    It counts for a GPU too: a graph passes through main memory on its way.
    """
    free = psutil.virtual_memory().available
    try:
        limit = int((GROUP / "memory.max").read_text())
        used = int((GROUP / "memory.current").read_text())
        said = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no group, or one without a limit
        return free
    # Files that are kept in memory only because there is room give way.
    return min(free, limit - used + int(said.get("inactive_file", 0)))


def providers(device: Device, *, fp16: bool, engines: Path, gpu_mb: float) -> list[Any]:
    """ONNX Runtime's providers for a device, the one to use first.

    Several kernels may share a GPU: memory is taken as it is needed (`kSameAsRequested`
    instead of doubling), and no more than `gpu_mb`, 0 for no bound. TensorRT keeps what it
    has built in `engines`, and leaves to CUDA what it cannot do.
    """
    if not device.gpu:
        return [_PROVIDERS["cpu"]]
    cuda: dict[str, Any] = {
        "device_id": device.index,
        "arena_extend_strategy": "kSameAsRequested",
        # A heuristic chooses algorithms: a search at each new shape would stall the lanes.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": True,
    }
    if gpu_mb:
        cuda["gpu_mem_limit"] = int(gpu_mb * 1e6)
    chain: list[Any] = [(_PROVIDERS["cuda"], cuda), _PROVIDERS["cpu"]]
    if device.kind == "tensorrt":
        engines.mkdir(parents=True, exist_ok=True)
        tensorrt = {
            "device_id": device.index,
            "trt_fp16_enable": fp16,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(engines),
        }
        chain.insert(0, (_PROVIDERS["tensorrt"], tensorrt))
    return chain


def profile(inputs: list[str], rows: int, tokens: int) -> dict[str, str]:
    """TensorRT's options for one engine over all shapes up to [rows, tokens].

    Without them it would build an engine anew for each shape that it had not seen.
    """

    def shapes(*shape: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name in inputs)

    return {
        "trt_profile_min_shapes": shapes(1, 8),
        "trt_profile_opt_shapes": shapes(max(1, rows // 2), max(8, tokens // 2)),
        "trt_profile_max_shapes": shapes(rows, tokens),
    }
