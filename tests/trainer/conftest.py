"""A recipe that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quick_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real backbone, few steps, a checkpoint every few of them."""
    path = tmp_path_factory.mktemp("recipes") / "quick.toml"
    path.write_text(
        "max_steps = 24\nbatch_size = 16\nlearning_rate = 2e-4\nhead_learning_rate = 2e-3\n"
        "held_back = 0.25\nmax_tokens = 32\ncheckpoint_steps = 8\n"
    )
    return path
