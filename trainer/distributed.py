"""Several processes, one training: what only the first does, and where all meet.

`torchrun` starts the processes and says who is who; without it there is one. Data parallel
training, and sharding where the recipe asks for it, are accelerate's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes files and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def meet() -> None:
    """Return when every process is here."""
    if processes() > 1:
        _join()
        import torch.distributed  # noqa: PLC0415

        torch.distributed.barrier()


def by_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them."""
    if processes() == 1:
        return make()
    _join()
    import torch.distributed  # noqa: PLC0415

    box = [make() if is_first() else None]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]


def _join() -> None:
    """Join the others, as accelerate will again when training begins."""
    import torch  # noqa: PLC0415
    from accelerate import PartialState  # type: ignore[import-untyped]  # noqa: PLC0415

    on_cpu = not torch.accelerator.is_available()
    PartialState(cpu=on_cpu, backend="gloo" if on_cpu else None)
