"""Where models run. No GPU is needed: what a GPU would be told is checked, not what it does."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from kernel.artefact import Kind, Manifest, Precision
from kernel.drivers import device, opening, precision
from kernel.drivers.base import DeviceLostError, DriverError, ExhaustedError
from kernel.drivers.device import CPU, Device
from kernel.drivers.session import Place, Session, fault
from tests.support import tiny_kinds

no_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")


@no_gpu
def test_without_a_gpu_auto_is_the_cpu_and_a_gpu_that_is_asked_for_is_an_error() -> None:
    assert device.find("auto") == device.find("cpu") == CPU
    for wanted in ("cuda", "cuda:1", "tensorrt"):
        with pytest.raises(DriverError, match="sees no such GPU"):
            device.find(wanted)


@pytest.mark.parametrize("wanted", ["gpu", "cpu:1", "auto:0", "cuda:x", ""])
def test_a_device_of_another_name_is_refused_with_those_that_there_are(wanted: str) -> None:
    with pytest.raises(DriverError, match="auto, cpu, cuda, cuda:1, tensorrt"):
        device.find(wanted)


def test_with_a_gpu_auto_is_the_first_one_and_an_index_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_has", lambda _, index: index < 2)
    assert device.find("auto") == Device("cuda", 0)
    assert device.find("cuda:1") == Device("cuda", 1)
    assert device.find("tensorrt") == Device("tensorrt", 0)
    with pytest.raises(DriverError):
        device.find("cuda:2")


def test_several_kernels_can_share_a_gpu(tmp_path: Path) -> None:
    chain = device.providers(Device("cuda", 1), fp16=True, engines=tmp_path, gpu_mb=2_000)
    (name, options), last = chain
    assert (name, last) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == 1
    assert options["gpu_mem_limit"] == 2_000_000_000
    assert options["arena_extend_strategy"] == "kSameAsRequested"


def test_tensorrt_keeps_its_engines_and_leaves_the_rest_to_cuda(tmp_path: Path) -> None:
    engines = tmp_path / "engines"
    chain = device.providers(Device("tensorrt"), fp16=True, engines=engines, gpu_mb=0)
    names = [entry if isinstance(entry, str) else entry[0] for entry in chain]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert chain[0][1]["trt_engine_cache_path"] == str(engines)
    assert engines.is_dir()
    profile = device.profile(["input_ids", "attention_mask"], 64, 128)
    assert profile["trt_profile_min_shapes"] == "input_ids:1x8,attention_mask:1x8"
    assert profile["trt_profile_max_shapes"] == "input_ids:64x128,attention_mask:64x128"


@no_gpu
def test_a_provider_that_does_not_load_is_an_error_and_not_a_silent_cpu(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier")
    place = Place(Device("cuda"), threads=1, engines=tmp_path)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA provider")
    with pytest.raises(DriverError, match=r"cannot use cuda:0|cannot be loaded"):
        Session.open(folder / "model.fp32.onnx", place)


@no_gpu
def test_io_binding_gives_what_a_plain_run_gives(tmp_path: Path) -> None:
    folder = tiny_kinds.make(tmp_path / "m", "text-classifier")
    session = Session.open(folder / "model.fp32.onnx", Place(CPU, 1, tmp_path))
    feed = {"input_ids": np.array([[2, 4, 5, 3], [2, 1, 1, 3]], np.int64)}
    plain = session._plain(feed, onnxruntime.RunOptions())
    assert session._bound(feed, onnxruntime.RunOptions()).tolist() == plain.tolist()


def test_several_threads_run_one_driver_at_a_time(tmp_path: Path) -> None:
    driver = opening.load(tiny_kinds.make(tmp_path / "m", "text-classifier"), threads=1)
    texts = ["good", "bad", "other"]
    wrong: list[str] = []

    def ask(place: int) -> None:
        for _ in range(200):
            (answer,) = driver.answers(driver.tokenize([texts[place]], [None]))
            if answer.label != ["positive", "negative", "neutral"][place]:
                wrong.append(answer.label)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1)])
def test_a_container_has_the_cores_of_its_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "GROUP", tmp_path)
    unlimited = device.usable_cores()
    (tmp_path / "cpu.max").write_text(quota)
    assert device.usable_cores() == cores
    (tmp_path / "cpu.max").write_text("max 100000")
    assert device.usable_cores() == unlimited


def test_a_container_has_the_memory_of_its_limit_and_files_in_memory_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("10000")
    (tmp_path / "memory.current").write_text("9000")
    (tmp_path / "memory.stat").write_text("anon 5000\ninactive_file 3000\n")
    assert device.free_bytes() == 4_000
    (tmp_path / "memory.max").write_text("max")
    assert device.free_bytes() > 1e6


@pytest.mark.parametrize("kind", opening.DRIVERS)
def test_the_shapes_of_a_gpu_are_warmed_up_and_change_no_answer(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = opening.load(tiny_kinds.make(tmp_path / "m", kind, max_tokens=40), threads=1)
    texts = [" ".join(["good", "ada", "other"] * number) for number in range(1, 12)]
    encodings = driver.tokenize(texts, ["q"] * len(texts))
    on_cpu = driver.answers(encodings)
    seen: set[tuple[int, ...]] = set()

    def bound(feed: dict[str, Any], options: object) -> Any:
        seen.update(array.shape for array in feed.values())
        return driver._session._plain(feed, options)

    monkeypatch.setattr(driver._session, "device", Device("cuda"))
    monkeypatch.setattr(driver._session, "_bound", bound)
    driver.warm_up()
    lengths = {length for _, length in seen}
    on_gpu = driver.answers(encodings)
    assert {length for _, length in seen} == lengths, "no shape was new"
    for one, other in zip(on_cpu, on_gpu, strict=True):
        assert (one.label, one.entities) == (other.label, other.entities)
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert one.vector == pytest.approx(other.vector, abs=1e-5)
        assert one.score == pytest.approx(other.score, abs=1e-5)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("BFCArena::AllocateRawInternal Failed to allocate memory for buffer", ExhaustedError),
        ("CUDA failure 2: out of memory ; GPU=0", ExhaustedError),
        ("std::bad_alloc", ExhaustedError),
        ("CUDA failure 700: an illegal memory access was encountered", DeviceLostError),
        ("CUDA failure 719: unspecified launch failure", DeviceLostError),
        ("CUDA error 100: no CUDA-capable device is detected", DeviceLostError),
        ("Got invalid dimensions for input", DriverError),
    ],
)
def test_faults_are_told_apart(said: str, kind: type[DriverError]) -> None:
    found = fault("the pass failed", RuntimeError(said))
    assert type(found) is kind
    assert said in str(found)


@pytest.mark.parametrize(
    ("agreement", "gpu", "chosen"),
    [
        ({"int8": 0.995}, False, "int8"),
        ({"int8": 0.98}, False, "fp32"),
        ({"int8": 0.995}, True, "fp32"),
        ({"fp16": 0.999}, True, "fp16"),
        ({"fp16": 0.999}, False, "fp32"),
    ],
)
def test_the_fastest_precision_that_agrees_serves(
    agreement: dict[Precision, float], gpu: bool, chosen: Precision
) -> None:
    graphs: dict[Precision, str] = {"fp32": "a", "int8": "b", "fp16": "c"}
    manifest = Manifest(
        task="t",
        version="v",
        kind="text-classifier",
        labels=["a"],
        max_tokens=8,
        precisions=graphs,
        agreement=agreement,
        metrics={},
        files={},
    )
    assert precision.choose_precision(manifest, gpu=gpu) == chosen


def test_where_tensorrt_is_missing_cuda_takes_over_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[list[str]] = []

    class Native:
        def __init__(self, graph: str, options: object, providers: list[object]) -> None:
            del graph, options
            names = [one if isinstance(one, str) else str(one[0]) for one in providers]  # type: ignore[index]
            asked.append(names)
            if "Tensorrt" in names[0]:
                raise RuntimeError("libnvinfer.so.10: cannot open shared object file")
            self._names = names

        def get_inputs(self) -> list[object]:
            return []

        def get_outputs(self) -> list[object]:
            return [type("Output", (), {"name": "logits"})]

        def get_providers(self) -> list[str]:
            return self._names

    monkeypatch.setattr(onnxruntime, "InferenceSession", Native)
    with caplog.at_level(logging.WARNING):
        session = Session.open(
            tmp_path / "model.fp32.onnx", Place(Device("tensorrt", 1), 1, tmp_path)
        )
    assert session.device == Device("cuda", 1)
    assert "libnvinfer" in caplog.text
    assert asked[-1][0] == "CUDAExecutionProvider"
