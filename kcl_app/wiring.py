"""The one place that puts the parts together. Nothing else builds a client or reads the environment."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emr_plugins.breaker import Breakers, Policy
from emr_plugins.calls import Failed, Timer
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry, discover
from emr_plugins.time_limit import TimeLimit
from kcl_app.clock import Clock
from kcl_app.engine.batch import BatchEngine
from kcl_app.logs import PLUGIN_REFUSED, get_logger
from kcl_app.settings import Settings, SettingsError
from kcl_app.stores.base import Blobs, Store
from processors.envelope import Event
from processors.errors import Reject

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

    from kcl_app.engine.observing import MetricsObserver
    from kcl_app.metrics import WorkerMetrics
    from kcl_app.put import Outgoing
    from kcl_app.stores.calls import DynamoDBCalls
    from kcl_app.stores.dynamodb import Observe, Units
    from kcl_app.stream.reader import StreamReader

LOCAL_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What signs requests to the local cloud, which takes any; real credentials never go there."""


def clock(settings: Settings) -> Clock:
    """The clock, pinned if the settings say so."""
    return Clock(settings.today)


def _client(settings: Settings, service: str, attempts: int = 3, endpoint: str | None = None) -> Any:
    import boto3
    from botocore.config import Config

    local: dict[str, Any] = {}
    if settings.aws.endpoint_url is not None:
        local = {
            "endpoint_url": endpoint or settings.aws.endpoint_url,
            "aws_access_key_id": LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        }
    session = boto3.session.Session()
    return session.client(  # type: ignore[call-overload]
        service,
        region_name=settings.aws.region,
        config=Config(
            connect_timeout=settings.aws.connect_timeout_seconds,
            read_timeout=settings.aws.read_timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=16,
            s3={"addressing_style": "path"} if local else {},
        ),
        **local,
    )


def dynamodb(settings: Settings) -> DynamoDBClient:
    """A DynamoDB client with finite timeouts.

    One try besides the first is for connections that were closed while they were idle; the store does the rest.
    """
    elsewhere = settings.aws.dynamodb_endpoint_url
    client: DynamoDBClient = _client(settings, "dynamodb", attempts=2, endpoint=elsewhere)
    return client


def dynamodb_calls(settings: Settings) -> DynamoDBCalls:
    """Calls of DynamoDB with finite timeouts, for the store."""
    import botocore.session

    from kcl_app.stores import calls

    aws = settings.aws
    session = botocore.session.get_session()
    if aws.endpoint_url is not None:
        session.set_credentials(
            LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"], LOCAL_CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
        )
        url = aws.dynamodb_endpoint_url or aws.endpoint_url
    else:
        # Region, partition, FIPS, dual stack and the variables of AWS all have a say: a client knows.
        url = session.create_client("dynamodb", region_name=aws.region).meta.endpoint_url
    return calls.dynamodb_calls(
        session,
        aws.region,
        url,
        connect_seconds=aws.connect_timeout_seconds,
        read_seconds=aws.read_timeout_seconds,
        authorities=session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE"),
    )


def kcl_dynamodb(settings: Settings) -> DynamoDBClient:
    """As `dynamodb`, for the KCL's own tables, which stay with the stream."""
    client: DynamoDBClient = _client(settings, "dynamodb", attempts=2)
    return client


def kinesis(settings: Settings) -> KinesisClient:
    """A Kinesis client with finite timeouts."""
    client: KinesisClient = _client(settings, "kinesis")
    return client


def s3(settings: Settings) -> S3Client:
    """An S3 client with finite timeouts."""
    client: S3Client = _client(settings, "s3")
    return client


def cloudformation(settings: Settings) -> CloudFormationClient:
    """A CloudFormation client with finite timeouts."""
    client: CloudFormationClient = _client(settings, "cloudformation")
    return client


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of the Java daemon and the children that it starts."""
    environment = dict(os.environ)
    environment["AWS_REGION"] = environment["AWS_DEFAULT_REGION"] = settings.aws.region
    if settings.aws.endpoint_url is not None:
        environment.update(LOCAL_CREDENTIALS)
        environment.pop("AWS_SESSION_TOKEN", None)
        environment["CBOR_ENABLED"] = "false"
    return environment


def java_home() -> str | None:
    """The environment's JAVA_HOME, which is Java's convention and no setting of ours."""
    return os.environ.get("JAVA_HOME")


LOG_SEAL = "KCL_APP_LOG_SEAL"
"""The variable by which the supervisor tells its children how to seal their log lines."""


def log_seal() -> str:
    """The seal of this process' log lines; taken out of the environment, which a plugin may print."""
    return os.environ.pop(LOG_SEAL, "")


def metrics_folder() -> Path | None:
    """Where this process keeps its metrics as files, as prometheus-client and the supervisor call it; None: nowhere."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def registry(settings: Settings) -> Registry:
    """The installed plugins, as far as the settings allow them."""
    of = settings.plugins
    return discover(of.allow, isolate=dict.fromkeys(of.isolation, of.isolation_memory_mb))


def plugin_host(
    settings: Settings,
    timer: Timer | None = None,
    *,
    failed: Failed | None = None,
    breakers: Breakers | None = None,
) -> PluginHost:
    """The plugins with every tenant's settings for them.

    Args:
        settings: all settings.
        timer: measures each call.
        failed: told of each call that failed.
        breakers: suspend plugins that keep failing; None where each answer is to be the plugin's own.

    Raises:
        SettingsError: a tenant's settings for a plugin are wrong; names the key.
    """
    tenants = {name: Tenant(one.time_zone, one.plugins) for name, one in settings.tenants.items()}
    other = settings.default_tenant
    default = Tenant(other.time_zone, other.plugins) if settings.any_tenant else None
    host = PluginHost(
        registry(settings),
        lambda name: tenants.get(name, default),
        timer,
        limit=TimeLimit(settings.plugins.call_seconds, _end_stuck),
        breakers=breakers,
        failed=failed,
    )
    try:
        host.check_settings([*tenants, *(["default_tenant"] if default else [])])
    except ValueError as error:
        raise SettingsError(str(error).replace("tenants.default_tenant.", "default_tenant.")) from None
    return host


def breakers(settings: Settings, observer: MetricsObserver | None = None) -> Breakers:
    """Suspend plugins that keep failing, as the settings say, and count that if there is someone to count."""
    of = settings.plugins
    policy = Policy(
        call_seconds=of.call_seconds,
        failures=of.suspend_after_failures,
        timeouts=of.suspend_after_timeouts,
        pause_seconds=of.suspension_seconds,
        longest_pause_seconds=of.longest_suspension_seconds,
    )
    return Breakers(policy, time.monotonic, random.random, observer.plugin_suspended if observer else None)


def _end_stuck() -> None:
    """End this process: a plugin catches whatever interrupts it. Waiting would halt the daemon, minutes later."""
    get_logger().error("a plugin does not come back, and cannot be interrupted: the process ends")
    os._exit(os.EX_SOFTWARE)


def providers_of(settings: Settings) -> Callable[[Event], Sequence[str]]:
    """Which providers an event's message names, asked of its plugin; none where it cannot be understood."""
    host = plugin_host(settings, breakers=breakers(settings))

    def names(event: Event) -> Sequence[str]:
        try:
            changes = host.decode(event)
        except Reject:
            return ()
        return list(dict.fromkeys(provider for change in changes for provider in change.providers))

    return names


def store(settings: Settings, observe: Observe | None = None, units: Units | None = None) -> Store:
    """The tables."""
    from kcl_app.stores.dynamodb import DynamoDBStore
    from kcl_app.stores.schemas import KNOWN, SchemaStore

    tables = DynamoDBStore(dynamodb_calls(settings), settings.tables.names(), observe, units=units)
    return SchemaStore(tables, replace(KNOWN, written=settings.tables.write_schema))


def blobs(settings: Settings) -> Blobs:
    """The bucket for large dead letters, which is rarely needed."""
    from kcl_app.stores.lazy_blobs import LazyBlobs
    from kcl_app.stores.s3 import S3Blobs

    return LazyBlobs(lambda: S3Blobs(s3(settings), settings.tables.dead_letter_bucket))


def stream_reader(settings: Settings) -> StreamReader:
    """Reads the stream without the KCL."""
    from kcl_app.stream.reader import StreamReader

    return StreamReader(kinesis(settings), settings.stream.name)


def send_all(settings: Settings, unsent: str) -> Callable[[Sequence[Outgoing]], None]:
    """Puts records onto the stream, and returns once it has them all.

    Args:
        settings: name the stream.
        unsent: what a person is told of records that it may not have got.
    """
    from kcl_app.put import Sender

    client = kinesis(settings)

    def send(records: Sequence[Outgoing]) -> None:
        with Sender(client, settings, settings.stream.name, unsent=unsent) as sender:
            for record in records:
                sender.send(record)

    return send


def engine(settings: Settings, metrics: WorkerMetrics) -> BatchEngine:
    """The batch engine on AWS or the local cloud, counting with `metrics`."""
    from kcl_app.engine.observing import MetricsObserver

    observer = MetricsObserver(metrics)
    made = engine_on(store(settings, observer.store_call, observer.store_units), settings, observer)
    metrics.plugins_refused.set(len(made.host.registry.refused))
    for refusal in made.host.registry.refused:
        get_logger().warning(PLUGIN_REFUSED, plugin=refusal.name, why=refusal.reason)
    return made


def engine_on(
    store: Store, settings: Settings, observer: MetricsObserver | None = None, *, suspend: bool = True
) -> BatchEngine:
    """The batch engine on a store.

    Args:
        store: the tables.
        settings: all settings.
        observer: counts, if there is someone to count.
        suspend: whether plugins that keep failing are suspended, for the sake of other plugins' speed. Not for a
            person who wants each provider's own answer.
    """
    from kcl_app.engine.settling import Observer

    return BatchEngine(
        store,
        blobs(settings),
        plugin_host(
            settings,
            observer.plugin_call if observer else None,
            failed=observer.plugin_failed if observer else None,
            breakers=breakers(settings, observer) if suspend else None,
        ),
        clock(settings),
        settings.limits.limits(),
        observer or Observer(),
        history_days=settings.horizon.history_days,
        horizon_days=settings.horizon.days,
        cached_items=settings.worker.cached_items,
        step=observer.step if observer else None,
    )
