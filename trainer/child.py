"""The training process: one run, away from the service, so that it stays responsive.

It ends when its parent does, however that ends: the parent holds the other end of its standard
input. What it leaves is `outcome.json`; killed, it leaves checkpoints that the next one resumes.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from trainer import labels, runs
from trainer.errors import TrainerError
from trainer.progress import Progress, replace_file
from trainer.runs import Outcome

_STDIN: Final = 0


def main(folder: Path) -> None:
    """Train the run in `folder`, once."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = runs.load(folder)
    progress = Progress(folder.parent / runs.CURRENT, run.version, run.task.name)
    try:
        with runs.locked(folder):
            outcome = _train(folder, run, progress)
    except TrainerError as error:
        progress.say("failed", message=str(error))
        outcome = Outcome(error=str(error), lasting=error.lasting)
    replace_file(folder / runs.OUTCOME, msgspec.json.encode(outcome))


def _train(folder: Path, run: runs.Run, progress: Progress) -> Outcome:
    progress.say("loading")
    from trainer.build import build  # noqa: PLC0415  (torch takes seconds: say "loading" first)

    built = build(
        runs.load_dataset(folder),
        run.task,
        run.recipe,
        version=run.version,
        folder=folder,
        progress=progress,
        origin=labels.describe(run.ranges),
        learned_until={str(one.partition): one.end for one in run.ranges},
    )
    return Outcome(digest=built.digest, report=built.report)


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread that waits would still hold at our own end.
    while os.read(_STDIN, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    main(Path(sys.argv[1]))
