"""Every setting of Headrace, once: defaults, `headrace.toml`, `HEADRACE_*` variables.

Variables win over the file in the current folder, the file over the defaults.
Services started by `headrace up` receive theirs through the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """Where the cluster is, where the data lies, and how the services behave."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_",
        env_ignore_empty=True,
        toml_file="headrace.toml",
        extra="forbid",
        frozen=True,
    )

    data: Path = Field(default=Path(".headrace"), description="Folder of broker, models and logs.")

    bootstrap: str = Field(
        default="", description="host:port,… of a cluster; empty: embedded broker."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    tls_ca: Path | None = Field(default=None, description="PEM file of the authority to trust.")
    tls_cert: Path | None = Field(default=None, description="PEM file of the client's certificate.")
    tls_key: Path | None = None

    partitions: int = Field(default=4, ge=1, description="Partitions of topics that carry threads.")
    replication: int = Field(default=1, ge=1, description="Replicas of each partition.")

    model_store: str = Field(
        default="", description="Folder or fsspec URL of model artefacts; empty: DATA/models."
    )

    entities: Path | None = Field(
        default=None, description="CSV of companies: ticker,name[,aliases]; none: the starter's."
    )

    session_timeout_ms: int = Field(
        default=6_000, ge=1_000, description="How long a silent member keeps its partitions."
    )
    standstill_s: float = Field(
        default=30.0,
        gt=0,
        description="A service that makes no progress for this long ends itself.",
    )
    transaction_timeout_ms: int = Field(default=60_000, ge=1_000)
    commit_interval_ms: int = Field(
        default=40, ge=0, description="Least time between two commits of a lane under load."
    )
    lane_in_flight: int = Field(
        default=2_048, ge=1, description="Requests that a lane holds before it stops fetching."
    )
    lane_in_flight_mb: float = Field(
        default=16, gt=0, description="Megabytes of records that a lane holds before it stops."
    )
    tenant_weights: dict[str, PositiveFloat] = Field(
        default={}, description="Share of a tenant in the capacity against others; 1 where absent."
    )

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|(cuda|tensorrt)(:\d+)?)$",
        description="Where models run: auto, cpu, cuda, cuda:1, tensorrt.",
    )
    gpu_memory_mb: float = Field(
        default=0, ge=0, description="Memory of a GPU that a model may take; 0: as it needs."
    )
    forward_timeout_s: float = Field(
        default=30, gt=0, description="A forward pass that takes longer has hung."
    )

    cache_mb: float = Field(
        default=64, ge=0, description="Memory of the kernel's result cache; 0 turns it off."
    )
    precision: Literal["auto", "fp32", "int8", "fp16"] = Field(
        default="auto",
        description="Graph that kernels serve; auto: the fastest that agrees with fp32.",
    )

    metrics_host: str = Field(
        default="127.0.0.1", description="Address on which services serve their /metrics."
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of /metrics: of one service, or the first of those that `headrace up` "
        "starts; 0: a service alone serves none, `up` chooses free ones.",
    )

    models_mb: float = Field(
        default=2_048, gt=0, description="Memory for loaded models; the least recently used leave."
    )
    degrade_above: int = Field(
        default=512, ge=1, description="Requests ready in a kernel above which it is overloaded."
    )

    rollout: Literal["staged", "direct"] = Field(
        default="staged",
        description="What a version does that passed the gate: shadow, canary, live; or live.",
    )
    rollout_stage_s: float = Field(
        default=15, gt=0, description="Longest time in shadow, and at each share of a canary."
    )
    rollout_answers: int = Field(
        default=200, ge=1, description="Answers compared after which a stage ends sooner."
    )
    canary_shares: list[float] = Field(
        default=[0.05, 0.25, 1.0], description="Shares of the threads that a canary answers."
    )
    max_error_rate: float = Field(
        default=0.02, ge=0, le=1, description="Of a version on trial; above it is refused."
    )
    max_drift: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence, in bits, of its labels from the live version's.",
    )
    min_agreement: float = Field(
        default=0.5, ge=0, le=1, description="Share of answers on which it says the same as live."
    )
    max_slowdown: float = Field(
        default=3, gt=1, description="Times the live version's forward pass that it may take."
    )
    max_worse: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of corrected answers by which it may be wrong more often than live.",
    )

    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of a service's log lines; json for collectors of logs."
    )

    console_host: str = Field(
        default="127.0.0.1", description="Address on which the web console listens."
    )
    console_port: int = Field(default=8420, ge=1, le=65535)

    recipe: str = Field(
        default="starter", description="Recipe of the trainer: a name, or a TOML file."
    )
    train_after: int = Field(
        default=50, ge=1, description="New labels after which the trainer begins at once."
    )
    train_settle_s: float = Field(
        default=2, gt=0, description="Pause in the stream of labels that it waits for then."
    )
    train_idle_s: float = Field(
        default=60, gt=0, description="Pause after which fewer new labels are enough."
    )

    @property
    def models(self) -> str:
        """Address of the model store."""
        return self.model_store or str(self.data.absolute() / "models")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
