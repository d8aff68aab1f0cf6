"""One graph loaded into ONNX Runtime: arrays in, one array out, faults told apart."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kernel.drivers import device as devices
from kernel.drivers.base import DeviceLostError, DriverError, ExhaustedError
from kernel.drivers.device import Device

log = logging.getLogger(__name__)

_EXHAUSTED: Final = re.compile(
    r"out of memory|failed to allocate|bad_?alloc|bad allocation|ALLOC_FAILED|"
    r"available memory of|exceeds.*memory|length_error|vector::",
    re.IGNORECASE,
)
_LOST: Final = re.compile(
    r"unspecified launch failure|illegal memory access|device-side assert|"
    r"no CUDA-capable device|devices? unavailable|fallen off the bus|uncorrectable ECC|"
    r"driver shutting down|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_EXECUTION_FAILED|"
    r"CUDA (?:failure|error) (?:46|100|101|214|219|700|709|710|719|999)\b",
    re.IGNORECASE,
)
LOADING: Final = 2.0
"""Times the size of its files that a graph takes while it is loaded, about: it is read, then
packed. Measured on a 22.7 M model: 1.6 (fp32), 1.9 (int8); once loaded, 1.4 and 1.2."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a graph is to run."""

    device: Device
    threads: int
    engines: Path
    """Folder for what TensorRT builds."""
    gpu_mb: float = 0.0
    """Bound on the memory of a GPU; 0: none."""
    rows: int = 64
    tokens: int = 512
    """The largest shapes to come."""


class Session:
    """A loaded graph; several threads may run it at a time."""

    def __init__(self, native: Any, device: Device) -> None:
        self.device = device
        """Where it runs: not what was asked for, where that could not be had."""
        self.inputs = frozenset(entry.name for entry in native.get_inputs())
        self._native: Any = native
        self._output = native.get_outputs()[0].name
        self._running: dict[int, Any] = {}

    @classmethod
    def open(cls, graph: Path, place: Place, *, fp16: bool = False) -> Session:
        """Load a graph.

        Raises:
            DriverError: the file is damaged, of an unknown opset, or too large for the memory.
        """
        need, free = LOADING * graph_bytes(graph), devices.free_bytes()
        if need > free:
            raise ExhaustedError(
                f"{graph.name} takes about {need / 1e6:.0f} MB while it is loaded, and "
                f"{max(free, 0) / 1e6:.0f} MB are free: give the kernel more memory, or train a "
                "smaller model"
            )
        try:
            native = _native(graph, place, fp16=fp16)
        except Exception as error:  # ONNX Runtime raises bare Exceptions
            raise fault(f"{graph.name} cannot be loaded", error) from error
        return cls(native, _device(native, place.device))

    def run(self, feed: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """The graph's first output; inputs that it does not take are left out.

        Raises:
            ExhaustedError: a smaller batch may do.
            DeviceLostError: no batch will do any more.
            DriverError: anything else, `interrupt` among it.
        """
        taken = {name: array for name, array in feed.items() if name in self.inputs}
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # what fails is raised, with the same words
        thread = threading.get_ident()
        self._running[thread] = options
        try:
            output = self._bound(taken, options) if self.device.gpu else self._plain(taken, options)
        except Exception as error:  # ONNX Runtime raises bare Exceptions
            raise fault("the pass failed", error) from error
        finally:
            del self._running[thread]
        return output.astype(np.float32, copy=False)

    def interrupt(self, thread: int) -> None:
        """Let the pass on that thread fail before its next operator."""
        options = self._running.get(thread)
        if options is not None:
            options.terminate = True

    def close(self) -> None:
        """Free the graph's memory once the passes that run have ended."""
        self._native = None

    def _plain(self, feed: Mapping[str, Any], options: Any) -> NDArray[Any]:
        output: NDArray[Any] = self._native.run([self._output], feed, options)[0]
        return output

    def _bound(self, feed: Mapping[str, Any], options: Any) -> NDArray[Any]:
        """By IO binding: each array is copied once, and no operator waits for the copy back."""
        binding = self._native.io_binding()
        on = ("cuda", self.device.index) if self.device.gpu else ("cpu", 0)
        for name, array in feed.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, *on)
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self._output, *on)
        self._native.run_with_iobinding(binding, options)
        output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return output


def graph_bytes(graph: Path) -> int:
    """Size of a graph's file and of the weights beside it (`NAME.data`); 0 where it is missing."""
    beside = graph.with_name(f"{graph.name}.data")
    return sum(path.stat().st_size for path in (graph, beside) if path.exists())


def fault(what: str, error: Exception) -> DriverError:
    """The error of a driver that an exception of ONNX Runtime stands for."""
    said = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or _EXHAUSTED.search(said):
        return ExhaustedError(f"{what}: not enough memory: {said}")
    if _LOST.search(said):
        return DeviceLostError(f"{what}: the GPU is lost: {said}")
    return DriverError(f"{what}: {said}")


def _device(native: Any, asked: Device) -> Device:
    """Where a loaded graph really runs: ONNX Runtime passes over what it cannot use."""
    used = native.get_providers()
    if asked.gpu and not any("CUDA" in name for name in used):
        raise DriverError(
            f"ONNX Runtime cannot use {asked}: its CUDA libraries are missing or do not fit the "
            "GPU's driver; install them, or set HEADRACE_DEVICE=cpu"
        )
    if asked.kind == "tensorrt" and not any("Tensorrt" in name for name in used):
        return Device("cuda", asked.index)
    return asked


def _native(graph: Path, place: Place, *, fp16: bool) -> Any:
    device = place.device
    options = _options(place.threads)
    chain = devices.providers(device, fp16=fp16, engines=place.engines, gpu_mb=place.gpu_mb)
    if device.kind != "tensorrt":
        return onnxruntime.InferenceSession(str(graph), options, providers=chain)
    try:
        light = onnxruntime.InferenceSession(str(graph), options, providers=chain[-1:])
        names = [entry.name for entry in light.get_inputs()]
        del light
        name, chosen = chain[0]
        chain[0] = (name, chosen | devices.profile(names, place.rows, place.tokens))
        return onnxruntime.InferenceSession(str(graph), options, providers=chain)
    except Exception as error:  # noqa: BLE001  (whatever TensorRT lacks, CUDA can still serve)
        log.warning("TensorRT cannot run %s, so CUDA does: %s", graph.name, error)
        return onnxruntime.InferenceSession(str(graph), options, providers=chain[1:])


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle workers that spin would take the cores from the broker and the agents.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
