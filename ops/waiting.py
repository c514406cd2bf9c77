"""Wait for what a cloud does by itself, with its progress; show the end of its log when it fails."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import botocore.exceptions as aws

from ops.aws import CloudError, explained

_ABSENT = ("could not find", "not found", "does not exist")
_BUSY = (
    "Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting", "InProgress", "Pending", "Stopping",
)  # fmt: skip
_SAY_AGAIN_S = 60
_TAIL_LINES = 30


def found(describe: Callable[..., Any], **names: str) -> Any | None:
    """Return what `describe` answers, or None where there is no such thing.

    Raises:
        CloudError: AWS answers with another error.
    """
    with explained(f"look at {', '.join(names.values())}"):
        try:
            return describe(**names)
        except aws.ClientError as problem:
            if not _is_absent(problem):
                raise
            return None


def delete_if_there(delete: Callable[..., Any], **names: str) -> None:
    """Delete; what has gone already is no error.

    Raises:
        CloudError: AWS answers with another error.
    """
    with explained(f"delete {', '.join(names.values())}"):
        try:
            delete(**names)
        except aws.ClientError as problem:
            if not _is_absent(problem):
                raise


def _is_absent(problem: aws.ClientError) -> bool:
    # SageMaker has no code of its own for it: it answers ValidationException, and only the message tells.
    message = problem.response["Error"].get("Message", "").lower()
    return any(words in message for words in _ABSENT)


def is_busy(status: str) -> bool:
    """Whether AWS is still at work on something with this status."""
    return status in _BUSY


def until_settled(
    look: Callable[[], Mapping[str, Any] | None],
    key: str,
    what: str,
    poll_seconds: float,
    timeout_s: float,
) -> Mapping[str, Any] | None:
    """Look until the status, which is at `key`, is a final one; return the last look, None when it has gone.

    Raises:
        CloudError: it takes longer than `timeout_s` seconds.
    """
    start, said, shown = time.monotonic(), 0.0, ""
    while (now := look()) is not None:
        seconds, detail = time.monotonic() - start, now.get("SecondaryStatus", now[key])
        if detail != shown or seconds - said >= _SAY_AGAIN_S:
            shown, said = detail, seconds
            print(f"   {what}: {detail} after {seconds // 60:.0f} min {seconds % 60:02.0f} s", flush=True)
        if not is_busy(now[key]):
            return now
        if seconds > timeout_s:
            raise CloudError(
                f"{what} is still {now[key]} after {timeout_s / 60:.0f} minutes; run the same command again to go on."
            )
        time.sleep(poll_seconds)
    return None


def print_log_tail(logs: Any, group: str, prefix: str | None = None) -> None:
    """Print the last lines of the newest stream in a CloudWatch log group; say so where there are none."""
    try:
        with explained(f"read the log {group}"):
            lines = _tail(logs, group, prefix)
    except CloudError as problem:  # the failure that the log belongs to is what must be told
        lines = [str(problem)]
    print(f"--- end of the log {group} ---", *(lines or ["(empty)"]), "---", sep="\n", file=sys.stderr, flush=True)


def _tail(logs: Any, group: str, prefix: str | None) -> list[str]:
    # AWS sorts by time only where no prefix is asked for.
    query = {"logStreamNamePrefix": prefix} if prefix else {"orderBy": "LastEventTime", "descending": True}
    streams = logs.describe_log_streams(logGroupName=group, **query)["logStreams"]
    if not streams:
        return []
    newest = max(streams, key=lambda stream: stream.get("lastEventTimestamp", 0))["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=newest, limit=_TAIL_LINES, startFromHead=False)
    return [event["message"].rstrip() for event in events["events"]]
