"""Frees the KCL's leader lock after a daemon that could not do so itself.

One worker of an application, the leader, assigns shards to all. It holds a lock in the KCL's coordinator table, and a
leader that is killed keeps it: for two minutes after the others first look, no shard of its is given to anybody. The
supervisor knows at once that its own daemon is gone.
"""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app import logs, wiring
from kcl_app.settings import Settings

_KEY = {"key": {"S": "Leader"}}


def quick(settings: Settings) -> Settings:
    """The settings for calls that must not take long: the worker is ending, or one of its threads waits."""
    aws = settings.aws.model_copy(update={"connect_timeout_seconds": 2, "read_timeout_seconds": 3})
    return settings.model_copy(update={"aws": aws})


def release(settings: Settings, worker_id: str) -> bool:
    """Delete the leader lock if this worker holds it. A failure is logged and nothing more: the lock runs out.

    Args:
        settings: the application, whose coordinator table it is.
        worker_id: the daemon's ``workerId``. It must have ended.

    Returns:
        Whether the lock was this worker's, and is free now.
    """
    # What ended the worker may be the network.
    dynamodb = wiring.kcl_dynamodb(quick(settings))
    try:
        dynamodb.delete_item(
            TableName=f"{settings.stream.application}-CoordinatorState",
            Key=_KEY,
            ConditionExpression="ownerName = :worker",
            ExpressionAttributeValues={":worker": {"S": worker_id}},
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code not in ("ConditionalCheckFailedException", "ResourceNotFoundException"):
            logs.get_logger().warning("leader lock not released", code=code)
        return False
    except BotoCoreError as error:
        logs.get_logger().warning("leader lock not released", code=type(error).__name__)
        return False
    logs.get_logger().info("leader lock released")
    return True
