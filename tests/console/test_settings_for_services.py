"""A service gets every setting of the supervisor through its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from console.stack import environment
from streams.settings import Settings


def test_settings_survive_the_way_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        data=tmp_path,
        bootstrap="one:9092,two:9092",
        security_protocol="SASL_SSL",
        sasl_username="user",
        sasl_password=SecretStr("a secret = with, signs"),
        tls_ca=tmp_path / "ca.pem",
        partitions=7,
        tenant_weights={"a": 2.0, "b": 0.5},
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
