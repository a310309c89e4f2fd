"""The one place that puts the parts together. Nothing else builds a client or reads the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .clock import Clock
from .settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

LOCAL_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What signs requests to the local cloud, which takes any; real credentials never go there."""


def clock(settings: Settings) -> Clock:
    """The clock, pinned if the settings say so."""
    return Clock(settings.today)


def _client(settings: Settings, service: str) -> Any:
    import boto3
    from botocore.config import Config

    local: dict[str, Any] = {}
    if settings.aws.endpoint_url is not None:
        local = {
            "endpoint_url": settings.aws.endpoint_url,
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
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=16,
            s3={"addressing_style": "path"} if local else {},
        ),
        **local,
    )


def dynamodb(settings: Settings) -> DynamoDBClient:
    """A DynamoDB client with finite timeouts."""
    client: DynamoDBClient = _client(settings, "dynamodb")
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
