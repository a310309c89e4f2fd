"""The local cloud: ministack, a local AWS in one Python process, in a virtual environment of its own.

It listens on 127.0.0.1 only. Everything it keeps lies in one folder (`local.directory`):

    venv/         the virtual environment, unless another one is given
    state/        what it holds, saved as it stops
    cloud.json    which process it is
    cloud.log     what it logged since its last start
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.local import own_venv
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient

REQUIREMENTS = Path(__file__).with_name("local_cloud_requirements.txt")

START_SECONDS = 60.0
STOP_SECONDS = 60.0
"""Saving a large state takes a while."""
DEPLOY_SECONDS = 300.0

MINISTACK = ("-m", "ministack")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    """What the local cloud is doing.

    Attributes:
        running: whether it answers.
        endpoint: where it is, or would be.
        pid: its process, if there is one.
        shards: open shards of each stream.
        tables: names of its tables.
    """

    running: bool
    endpoint: str
    pid: int | None = None
    shards: tuple[tuple[str, int], ...] = ()
    tables: tuple[str, ...] = ()


class LocalCloud:
    """Starts, stops and describes the local cloud of some settings.

    Args:
        settings: its port is that of `aws.endpoint_url`, its folder `local.directory`.
        venv: its virtual environment; by default ``venv`` in its folder. Several clouds may share one.
        progress: is told what is being done, one short line each.
        program: what its Python runs; ``ministack`` is among the arguments.

    Raises:
        UserError: the endpoint is none that a local cloud can have.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        venv: Path | None = None,
        progress: Progress = lambda _: None,
        program: Sequence[str] = MINISTACK,
    ) -> None:
        self.settings = settings
        self.directory = settings.local.directory.absolute()
        self.venv = (venv or self.directory / "venv").absolute()
        self.endpoint = settings.aws.endpoint_url or ""
        self.port = _port(settings)
        self._progress = progress
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file it logs to."""
        return self.directory / "cloud.log"

    def start(self, *, fresh: bool = False, shards: int | None = None) -> None:
        """Start it unless it runs, and make its stream, tables and bucket unless they are there.

        Args:
            fresh: forget everything it held.
            shards: of the stream, as it is made; by default the template's number.

        Raises:
            UserError: it cannot be installed or started, or what it holds does not fit.
        """
        self.install()
        with own_venv.lock(self.directory / "cloud.lock"):
            if fresh:
                self._end(save=False)
                shutil.rmtree(self.directory / "state", ignore_errors=True)
            record = self._record()
            if record is None:
                self._launch()
            elif record["port"] != self.port:
                raise UserError(
                    f"the local cloud of {self.directory} runs on port {record['port']}, not {self.port}; "
                    "run `kcl-app local stop` first"
                )
            else:
                self._await_health(record["pid"])
        self._progress("Deploying streams, tables and buckets")
        deploy(self.settings, shards)

    def stop(self, *, save: bool = True) -> bool:
        """Stop it, its state saved first unless `save` is False; whether it ran."""
        if not self.directory.is_dir():
            return False
        with own_venv.lock(self.directory / "cloud.lock"):
            return self._end(save=save)

    def status(self) -> Status:
        """What it is doing now."""
        record = self._record()
        if record is None:
            return Status(False, self.endpoint)
        if record["port"] != self.port or not _healthy(self.port):
            return Status(False, f"http://127.0.0.1:{record['port']}", record["pid"])
        kinesis, dynamodb = wiring.kinesis(self.settings), wiring.dynamodb(self.settings)
        with _aws_errors(self.settings):
            streams = [
                (
                    name,
                    kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"][
                        "OpenShardCount"
                    ],
                )
                for page in kinesis.get_paginator("list_streams").paginate()
                for name in page["StreamNames"]
            ]
            tables = [
                name
                for page in dynamodb.get_paginator("list_tables").paginate()
                for name in page["TableNames"]
            ]
        return Status(True, self.endpoint, record["pid"], tuple(sorted(streams)), tuple(sorted(tables)))

    def install(self) -> None:
        """Make its virtual environment unless it is there.

        Raises:
            UserError: pip could not install it.
        """
        own_venv.install(self.venv, REQUIREMENTS, "the local cloud", self._progress)

    def _launch(self) -> None:
        _require_free(self.port)
        state = self.directory / "state"
        scratch = self.directory / "tmp"
        for folder in (state, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        # Real credentials never go there, nor does it have any business with a Docker daemon, where it would
        # look for containers to remove.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
            "TMPDIR": str(scratch),
            "MINISTACK_REGION": self.settings.aws.region,
            "LOG_LEVEL": "WARNING",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": "unix:///nonexistent",
        }
        self._progress(f"Starting the local cloud on port {self.port}")
        with self.log.open("wb") as out:
            self._child = subprocess.Popen(
                [str(self.venv / "bin" / "python"), *self._program],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.directory,
                start_new_session=True,
            )
        pid = self._child.pid
        try:
            record = {"pid": pid, "started": psutil.Process(pid).create_time(), "port": self.port}
            (self.directory / "cloud.json").write_text(json.dumps(record))
            self._await_health(pid)
        except BaseException:
            # Also on Ctrl-C: nothing half started stays behind.
            self._child.kill()
            self._child.wait()
            (self.directory / "cloud.json").unlink(missing_ok=True)
            raise

    def _await_health(self, pid: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(self.port):
            if not self._alive(pid):
                raise UserError(
                    f"the local cloud ended as it started: {own_venv.last_line(self.log)} (see {self.log})"
                )
            if time.monotonic() > deadline:
                raise UserError(
                    f"the local cloud does not answer on port {self.port} after {START_SECONDS:.0f} s; "
                    f"see {self.log}, or run `kcl-app local stop`"
                )
            time.sleep(0.05)

    def _record(self) -> dict[str, Any] | None:
        """The process that was started here, if it still runs and is that very process."""
        try:
            record: dict[str, Any] = json.loads((self.directory / "cloud.json").read_text())
            process = psutil.Process(record["pid"])
            # A process id is used again after a while; when the process began tells the two apart.
            if abs(process.create_time() - record["started"]) > 2 or not self._alive(record["pid"]):
                return None
            return record if "ministack" in process.cmdline() else None
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None

    def _alive(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def _end(self, *, save: bool) -> bool:
        record = self._record()
        if record is not None:
            pid = record["pid"]
            if save:
                self._progress("Stopping the local cloud; it saves its state")
                _signal(pid, signal.SIGTERM)
                self._await_end(pid, STOP_SECONDS)
            if self._alive(pid):
                _signal(pid, signal.SIGKILL)
                self._await_end(pid, 10)
            # The first thread of a killed process may be gone before the last, and the sockets go with that.
            deadline = time.monotonic() + 10
            while _port_trouble(record["port"]) and time.monotonic() < deadline:
                time.sleep(0.02)
        (self.directory / "cloud.json").unlink(missing_ok=True)
        return record is not None

    def _await_end(self, pid: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)


def deploy(settings: Settings, shards: int | None = None) -> None:
    """Make streams, tables and buckets from the CloudFormation template, or bring them up to it; then check them.

    Does nothing where all is as it should be. Works on AWS as on the local cloud.

    Args:
        settings: the names, and where.
        shards: of the stream; by default what it has, else the template's number.

    Raises:
        UserError: CloudFormation refused or failed, or something is missing afterwards.
    """
    client = wiring.cloudformation(settings)
    name = stack_name(settings)
    body = settings.local.data_template.read_text(encoding="utf-8")
    values = {
        "StreamName": settings.stream.name,
        "ItemsTableName": settings.tables.items,
        "SpansTableName": settings.tables.spans,
        "ProvidersTableName": settings.tables.providers,
        "DeadLettersTableName": settings.tables.dead_letters,
        "DeadLetterBucketName": settings.tables.dead_letter_bucket,
        # The local cloud refuses the whole template for a resource that it does not have, of AWS Backup.
        "Backups": "disabled" if settings.aws.endpoint_url is not None else "enabled",
    }
    if shards is not None:
        values["ShardCount"] = str(shards)
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": key, "ParameterValue": value} for key, value in values.items()
    ]
    with _aws_errors(settings):
        stack = _stack(client, name)
        if stack is None:
            client.create_stack(StackName=name, TemplateBody=body, Parameters=parameters)
            _await_stack(client, name)
        else:
            now = {p["ParameterKey"]: p["ParameterValue"] for p in stack.get("Parameters", [])}
            _check_updatable(settings, stack, now.get("ShardCount"), shards)
            same = all(now.get(key) == value for key, value in values.items())
            if not same or str(client.get_template(StackName=name)["TemplateBody"]) != body:
                if shards is None and "ShardCount" in now:
                    parameters.append({"ParameterKey": "ShardCount", "UsePreviousValue": True})
                client.update_stack(StackName=name, TemplateBody=body, Parameters=parameters)
                _await_stack(client, name)
        if settings.aws.dynamodb_endpoint_url is not None:
            create_tables(wiring.dynamodb(settings), read_template(settings.local.data_template), values)
        _enable_expiry(settings, client, name)
        _check_resources(settings)


def stack_name(settings: Settings) -> str:
    """The CloudFormation stack of these settings; another stream name is another stack."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", f"data-{settings.stream.name}")[:128]


def read_template(path: Path) -> dict[str, Any]:
    """A CloudFormation template; its short forms (``!Ref x``) are read as ``{"Ref": "x"}``."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def short_form(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return {suffix: loader.construct_scalar(node)}
        if isinstance(node, yaml.SequenceNode):
            return {suffix: loader.construct_sequence(node, deep=True)}
        return {suffix: loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", short_form)
    template: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader)
    return template


def _stack(client: CloudFormationClient, name: str) -> StackTypeDef | None:
    from botocore.exceptions import ClientError

    try:
        return client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _check_updatable(settings: Settings, stack: StackTypeDef, now: str | None, shards: int | None) -> None:
    status = stack["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        raise UserError(f"the stack {stack['StackName']} is being changed ({status}); try again later")
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
        raise UserError(
            f"the stack {stack['StackName']} failed earlier ({status}); start over with `kcl-app local start --fresh`"
        )
    if settings.aws.endpoint_url is not None and shards is not None and now != str(shards):
        raise UserError(
            f"the stream {settings.stream.name} has {now} shards, which the local cloud does not change; "
            f"start over with `kcl-app local start --fresh --shards {shards}`"
        )


def _await_stack(client: CloudFormationClient, name: str) -> None:
    deadline = time.monotonic() + DEPLOY_SECONDS
    delay = 0.05
    while True:
        stack = _stack(client, name)
        status = stack["StackStatus"] if stack else "gone"
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return
        if not status.endswith("_IN_PROGRESS"):
            events = client.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [
                f"{event.get('LogicalResourceId')}: {event['ResourceStatusReason']}"
                for event in reversed(events)
                if event.get("ResourceStatus", "").endswith("_FAILED") and event.get("ResourceStatusReason")
            ]
            raise UserError(
                f"the stack {name} came to {status}: {reasons[0] if reasons else 'no reason given'}"
            )
        if time.monotonic() > deadline:
            raise UserError(f"the stack {name} is still {status} after {DEPLOY_SECONDS:.0f} s")
        time.sleep(delay)
        delay = min(delay * 1.5, 3)


TABLE_PARTS = ("AttributeDefinitions", "KeySchema", "BillingMode")


def create_tables(client: DynamoDBClient, template: dict[str, Any], names: Mapping[str, str]) -> None:
    """Make the template's tables, as far as they are missing, in a DynamoDB that CloudFormation does not reach.

    Args:
        client: of that DynamoDB.
        template: as `read_template` gives it.
        names: the template's parameters, which name the tables.
    """
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::DynamoDB::Table":
            continue
        properties = resource["Properties"]
        name = names[properties["TableName"]["Ref"]]
        with suppress(client.exceptions.ResourceInUseException):
            client.create_table(TableName=name, **{part: properties[part] for part in TABLE_PARTS})


def _enable_expiry(settings: Settings, client: CloudFormationClient, name: str) -> None:
    """Switch on the template's TTL where CloudFormation did not: the local one leaves it out."""
    if settings.aws.endpoint_url is None:
        return
    dynamodb = wiring.dynamodb(settings)
    physical = {
        resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
        for resource in client.describe_stack_resources(StackName=name)["StackResources"]
    }
    for logical, resource in read_template(settings.local.data_template)["Resources"].items():
        ttl = resource["Properties"].get("TimeToLiveSpecification")
        if ttl is None:
            continue
        table = physical[logical]
        state = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if state.get("TimeToLiveStatus", "DISABLED") == "DISABLED":
            dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)


def _check_resources(settings: Settings) -> None:
    from botocore.exceptions import ClientError

    kinesis, dynamodb, s3 = wiring.kinesis(settings), wiring.dynamodb(settings), wiring.s3(settings)
    tables = settings.tables
    what = "?"
    try:
        what = f"stream {settings.stream.name}"
        stream = kinesis.describe_stream_summary(StreamName=settings.stream.name)
        state: str = stream["StreamDescriptionSummary"]["StreamStatus"]
        if state not in ("ACTIVE", "UPDATING"):
            raise UserError(f"the {what} is {state}")
        for table in (tables.items, tables.spans, tables.providers, tables.dead_letters):
            what = f"table {table}"
            state = dynamodb.describe_table(TableName=table)["Table"].get("TableStatus", "?")
            if state not in ("ACTIVE", "UPDATING"):
                raise UserError(f"the {what} is {state}")
        what = f"bucket {tables.dead_letter_bucket}"
        s3.head_bucket(Bucket=tables.dead_letter_bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ResourceNotFoundException", "404", "NoSuchBucket"):
            raise UserError(
                f"the {what} is missing though its stack is complete; start over with `kcl-app local start --fresh`"
            ) from None
        raise


@contextmanager
def _aws_errors(settings: Settings) -> Iterator[None]:
    """Turns what AWS answers into one line for a person."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        where = settings.aws.endpoint_url or f"AWS in {settings.aws.region}"
        raise UserError(f"{where}: {' '.join(str(error).split())}") from None


def _port(settings: Settings) -> int:
    parts = urlsplit(settings.aws.endpoint_url or "")
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost") or not parts.port:
        raise UserError(
            "the local cloud needs aws.endpoint_url to be such as http://127.0.0.1:4566 "
            "(SCHEDULING_AWS__ENDPOINT_URL)",
            status=2,
        )
    return parts.port


def _port_trouble(port: int) -> str | None:
    """Why a port cannot be listened on; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
    return None


def _require_free(port: int) -> None:
    reason = _port_trouble(port)
    if reason is None:
        return
    holder = "another program"
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", 0) == port
            if listens and connection.pid:
                holder = f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # not ours to see
    raise UserError(
        f"port {port} cannot be used ({reason}): {holder} has it; end that, or choose another port with "
        "aws.endpoint_url (SCHEDULING_AWS__ENDPOINT_URL)"
    )


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        if number == signal.SIGKILL and os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass
