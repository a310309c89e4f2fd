"""Settings: one TOML file, the environment over it, all validated before anything starts.

Names in the environment are the keys in capitals with the prefix ``SCHEDULING_`` and two underscores between
levels: ``[stream] name`` is ``SCHEDULING_STREAM__NAME``. A test keeps `docs/settings.md` in step with these models.
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from processors import times
from processors.envelope import Limits
from processors.errors import explain
from processors.items import SCHEMA, SCHEMA_WRITTEN

PREFIX = "SCHEDULING_"
CONFIG_VARIABLE = "SCHEDULING_CONFIG"
"""Names the TOML file where ``--config`` does not; children of the worker get it this way."""

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """A setting is missing or wrong; the message names its key and what would be right."""


def _zone(name: str) -> str:
    times.zone(name)
    return name


ZoneName = Annotated[str, AfterValidator(_zone)]


def _year(day: date) -> date:
    first, last = times.FIRST_YEAR + 1, times.LAST_YEAR - 1
    if not first <= day.year <= last:
        raise ValueError(f"the year must lie between {first} and {last}")
    return day


Today = Annotated[date, AfterValidator(_year)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AwsSettings(_Section):
    """Which AWS. `endpoint_url` points to a local cloud and is allowed in the local environment only."""

    region: str = Field(
        "us-east-1",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        description="AWS region of the stream, the tables and the bucket.",
    )
    endpoint_url: str | None = Field(
        None, description="URL of the local cloud, used instead of AWS. Only where `environment` is `local`."
    )
    dynamodb_endpoint_url: str | None = Field(
        None,
        description="URL of another DynamoDB that holds the tables of the local cloud, such as a faster one for "
        "measuring. The KCL keeps its own tables at `aws.endpoint_url`. Only where `environment` is `local`.",
    )
    connect_timeout_seconds: PositiveFloat = Field(5, description="Longest wait for a connection to AWS.")
    read_timeout_seconds: PositiveFloat = Field(20, description="Longest wait for an answer of AWS.")


class StreamSettings(_Section):
    """The stream of events, and how the KCL reads it."""

    name: str = Field("scheduling-event-stream", min_length=1, description="Name of the Kinesis stream.")
    application: str = Field(
        "scheduling-kcl-app",
        pattern=r"^[a-zA-Z0-9_.-]{3,200}$",
        description="Name of the KCL application. Workers of one name share the shards, and its three tables are "
        "named after it.",
    )
    max_records: int = Field(
        2000,
        ge=1,
        le=10_000,
        description="Records that the KCL takes in one GetRecords call, at most. Four reads a second of fewer than "
        "1,500 would be less than a shard gives of small records; a child holds all of one read in memory.",
    )
    idle_milliseconds: int = Field(
        250,
        ge=200,
        description="Wait between two reads of a shard. Kinesis allows 5 reads a second of each shard, for all its "
        "readers together.",
    )
    failover_milliseconds: int = Field(
        10_000, ge=1000, description="A lease not renewed for this long is taken over by another worker."
    )


LOCAL_BUCKET = "scheduling-dead-letters"
"""Bucket names are one namespace for all of AWS: somebody else may have this one."""


class TableSettings(_Section):
    """Names of the DynamoDB tables and of the bucket."""

    items: str = Field(
        "scheduling-items", min_length=3, description="Table of scheduling items and their owner records."
    )
    spans: str = Field(
        "available-spans",
        min_length=3,
        description="Table of available spans, one document for each provider-day.",
    )
    providers: str = Field(
        "scheduling-providers",
        min_length=3,
        description="Table of the providers known, which the horizon job walks over.",
    )
    dead_letters: str = Field(
        "scheduling-dead-letters", min_length=3, description="Table of what was set aside, with its reason."
    )
    dead_letter_bucket: str = Field(
        LOCAL_BUCKET,
        min_length=3,
        description="S3 bucket for raw records that are too large for that table; in production there is no default.",
    )
    write_schema: int = Field(
        SCHEMA_WRITTEN,
        ge=SCHEMA_WRITTEN,
        le=SCHEMA,
        description="Number of the row layout that is written. A release that brings a new one reads it, and goes on "
        "writing the one before; the release after writes it. Once no worker of an older release runs, the newest can "
        "be written at once.",
    )

    def names(self) -> dict[str, str]:
        """The tables' names."""
        return self.model_dump(exclude={"write_schema", "dead_letter_bucket"})


class HorizonSettings(_Section):
    """Which days have a document."""

    days: int = Field(90, ge=1, le=730, description="How many days spans are kept for, today the first.")
    history_days: int = Field(
        7, ge=0, le=365, description="How many past days stay, and are kept right while they do."
    )


class TenantSettings(_Section):
    """One tenant."""

    time_zone: ZoneName = Field(
        "UTC", description="IANA time zone of providers that have no working hours which name one."
    )
    silent_after_seconds: PositiveFloat | None = Field(
        None,
        description="How long this tenant's feed may send nothing. Only where it is set do metrics name the tenant, "
        "and can an alert say that its feed is silent; for tenants that are listed under `tenants`.",
    )
    plugins: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of plugins for this tenant, by plugin name. The plugin says which there are.",
    )


class PluginSettings(_Section):
    """Which installed plugins may run, and what becomes of one that fails."""

    allow: tuple[str, ...] | None = Field(
        None,
        description="Names of the plugins to load, besides `standard`, which is always there. All that are installed "
        "if unset.",
    )
    isolation: dict[str, Literal["process"]] = Field(
        {},
        description="Plugins to run in processes of their own, by name: `process`. There, what exits, crashes or takes "
        "too much memory ends nothing but the call; and each call costs more.",
    )
    isolation_memory_mb: int = Field(
        256, ge=64, le=16_384, description="What the process of an isolated plugin may allocate, in MB."
    )
    call_seconds: float = Field(
        5,
        ge=0.1,
        le=30,
        description="How long one call into a plugin may take. After it the call is interrupted, and its event or "
        "provider-day fails.",
    )
    suspend_after_failures: int = Field(
        20,
        ge=2,
        description="Providers that a plugin fails for, one after the other, until it is suspended for their tenant; "
        "and tenants, until it is for all.",
    )
    suspend_after_timeouts: int = Field(
        2,
        ge=1,
        description="Calls that take too long until a plugin is suspended for their provider; three times as many "
        "until it is for their tenant, six times until it is for all.",
    )
    suspension_seconds: PositiveFloat = Field(
        30,
        description="How long a plugin is suspended until it is tried again. Each further time is twice as long.",
    )
    longest_suspension_seconds: PositiveFloat = Field(
        600, description="The longest time until a suspended plugin is tried again."
    )


class LimitSettings(_Section):
    """Sizes past which input is rejected."""

    record_bytes: int = Field(512 * 1024, ge=1024, le=10 * 1024 * 1024, description="Bytes of one record.")
    depth: int = Field(32, ge=4, le=150, description="Levels of nesting in a record's JSON.")
    string_chars: int = Field(
        256 * 1024, ge=256, description="Characters of the longest text in a record's JSON."
    )
    items_per_provider: int = Field(
        20_000, ge=10, description="Items of one provider, those that were withdrawn included."
    )
    document_bytes: int = Field(
        380_000,
        ge=1000,
        le=390_000,
        description="Bytes of the spans of one provider-day as JSON. A DynamoDB item holds 400 KB in all.",
    )

    def limits(self) -> Limits:
        """As the core takes them."""
        return Limits(**self.model_dump())


class WorkerSettings(_Section):
    """The long-running worker."""

    port: int = Field(
        9464, ge=0, le=65_535, description="Port of /metrics, /healthz and /readyz; 0 chooses a free one."
    )
    bind: str = Field(
        "127.0.0.1",
        description="Address that the port is bound to; `0.0.0.0` lets Prometheus in from other machines.",
    )
    grace_seconds: PositiveFloat = Field(
        20,
        le=115,
        description="Longest time from SIGTERM to the end. Keep it below the ECS stopTimeout (120 s at most on "
        "Fargate).",
    )
    child_timeout_seconds: PositiveInt = Field(
        900,
        description="A child that answers nothing for this long halts the worker. After four fifths of it a child that "
        "cannot use its stores ends by itself.",
    )
    judge_seconds: PositiveFloat = Field(
        180,
        ge=10,
        description="How far back the lag judge looks. Less than a shard takes from checkpoint to checkpoint when it "
        "is far behind (about a minute) would make it say `stalled` of one that works.",
    )
    jvm_options: tuple[str, ...] = Field(
        ("-XX:+UseSerialGC", "-Xmx512m"),
        description="Options of the Java virtual machine. Each shard wants some 60 MB of heap when it is far behind.",
    )
    cached_items: int = Field(
        100_000,
        ge=1000,
        description="Items that each child keeps in memory, at most, each some 0.8 kB. The least recently used "
        "providers go first.",
    )


class LogSettings(_Section):
    """Structured logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )
    format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="`json` is one object a line; `auto` is `pretty` on a terminal, else `json`."
    )


class LocalSettings(_Section):
    """The local cloud."""

    directory: Path = Field(
        Path(".local"), description="Folder of its virtual environment, its state and its log."
    )
    data_template: Path = Field(
        PROJECT_ROOT / "deploy" / "ecs" / "data.yaml",
        description="CloudFormation template that its stream, tables and bucket are made from.",
    )


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    environment: Literal["local", "production"] = Field(
        "local", description="Where this runs. `local` may name an endpoint, and looks for work more often."
    )
    today: Today | None = Field(
        None, description="Pins the date, in every zone, so that historical data has a horizon of its own."
    )
    any_tenant: bool = Field(
        True, description="Whether events of tenants that are not listed under `tenants` are taken."
    )
    default_tenant: TenantSettings = Field(
        TenantSettings(), description="Settings of tenants that are not listed."
    )
    tenants: dict[str, TenantSettings] = Field(
        default_factory=dict, description="Settings of each tenant, by its name."
    )
    aws: AwsSettings = AwsSettings()
    stream: StreamSettings = StreamSettings()
    tables: TableSettings = TableSettings()
    horizon: HorizonSettings = HorizonSettings()
    plugins: PluginSettings = PluginSettings()
    limits: LimitSettings = LimitSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    local: LocalSettings = LocalSettings()

    @model_validator(mode="after")
    def _environment(self) -> Settings:
        endpoints = {
            name: url
            for name in ("endpoint_url", "dynamodb_endpoint_url")
            if (url := getattr(self.aws, name)) is not None
        }
        if self.environment == "production" and self.tables.dead_letter_bucket == LOCAL_BUCKET:
            raise ValueError(
                "tables.dead_letter_bucket is required in production: the stack's output DeadLetterBucketName"
            )
        for name, url in endpoints.items():
            if self.environment != "local":
                raise ValueError(f"aws.{name} is for the local environment only; remove it")
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"aws.{name} must be a URL such as http://127.0.0.1:4566")
        if "dynamodb_endpoint_url" in endpoints and "endpoint_url" not in endpoints:
            raise ValueError("aws.dynamodb_endpoint_url needs aws.endpoint_url: the rest would be AWS itself")
        return self

    def watched_tenants(self) -> dict[str, float]:
        """Tenants whose silence is measured, and how long it may last, in seconds."""
        return {
            name: one.silent_after_seconds
            for name, one in self.tenants.items()
            if one.silent_after_seconds is not None
        }

    def tenant(self, name: str) -> TenantSettings | None:
        """A tenant's settings; None for one whose events are not taken."""
        listed = self.tenants.get(name)
        if listed is None and self.any_tenant:
            return self.default_tenant
        return listed


LOCAL_DEFAULTS: dict[str, Any] = {
    "environment": "local",
    "any_tenant": True,
    "aws": {"region": "us-east-1", "endpoint_url": "http://127.0.0.1:4566"},
    "stream": {"failover_milliseconds": 3000},
}
"""What `config/local.toml` says, for a command without ``--config``; a test keeps them equal."""


def load(config: Path | None = None, **over: Any) -> Settings:
    """The settings from a TOML file and the environment.

    Args:
        config: the file; by default the one that SCHEDULING_CONFIG names, else local settings.
        over: top-level values that go over both, as the command line's.

    Raises:
        SettingsError: a key is unknown, missing or wrong, or the file cannot be read.
    """
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    if config is None:
        source, values = "local settings", LOCAL_DEFAULTS
    else:
        source, values = str(config), _read(config)
    environment = os.environ.copy()
    environment.pop(CONFIG_VARIABLE, None)

    class _Loaded(Settings):
        model_config = SettingsConfigDict(title="Settings")

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, _Values(settings_cls, values)

    unknown = _unknown_variables(environment)
    if unknown:
        raise SettingsError(f"{unknown[0]} (environment): no such setting; see docs/settings.md")
    try:
        return _Loaded(**over)
    except UnreadableSetting as error:
        raise SettingsError(_unreadable(str(error), environment)) from None
    except ValidationError as error:
        raise SettingsError(
            f"{explain(error)} (in {source} or the environment; see docs/settings.md)"
        ) from None


def _unknown_variables(environment: dict[str, str]) -> list[str]:
    known = {name.upper() for name in Settings.model_fields}
    found = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name[len(PREFIX) :].split("__")[0] not in known:
            found.append(name)
    return found


def _unreadable(why: str, environment: dict[str, str]) -> str:
    """What pydantic-settings says of a list or section that is not JSON, with the variables it can mean."""
    match = re.search(r'field "(\w+)"', why)
    start = PREFIX + (match[1].upper() if match else "")
    names = [name for name in sorted(environment) if name.upper().startswith(start)]
    return (
        f"{' or '.join(names) or start} (environment): a list or a section must be JSON; see docs/settings.md"
    )


class _Values(PydanticBaseSettingsSource):
    """Values read from the file, as the least source."""

    def __init__(self, settings_cls: type[BaseSettings], values: dict[str, Any]) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._values)


def _read(config: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {config}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        line = re.sub(r"\s+", " ", str(error))
        raise SettingsError(f"{config} is not TOML: {line}") from None
