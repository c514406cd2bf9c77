"""Wait for what AWS does in the background, with progress; print the end of the log of what fails."""

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
_REPEAT_S = 60
_TAIL_LINES = 30


def found(describe: Callable[..., Any], **names: str) -> Any | None:
    """Return what `describe` returns; None where the resource does not exist.

    Raises:
        CloudError: AWS returns another error.
    """
    with explained(f"look at {', '.join(names.values())}"):
        return _unless_absent(describe, names)


def delete_if_there(delete: Callable[..., Any], **names: str) -> None:
    """Delete a resource; one that does not exist is no error.

    Raises:
        CloudError: AWS returns another error.
    """
    with explained(f"delete {', '.join(names.values())}"):
        _unless_absent(delete, names)


def _unless_absent(call: Callable[..., Any], names: Mapping[str, str]) -> Any | None:
    try:
        return call(**names)
    except aws.ClientError as problem:
        # SageMaker has no error code for it: the code is ValidationException, and only the message differs.
        message = problem.response["Error"].get("Message", "").lower()
        if not any(words in message for words in _ABSENT):
            raise
        return None


def is_busy(status: str) -> bool:
    """Whether AWS is still working on a resource with this status."""
    return status in _BUSY


def until_settled(
    look: Callable[[], Mapping[str, Any] | None], key: str, title: str, poll_seconds: float, timeout_s: float
) -> Mapping[str, Any] | None:
    """Call `look` until the status, which is at `key`, is final; return its last result, None when it is gone.

    Raises:
        CloudError: it takes longer than `timeout_s` seconds.
    """
    start, printed_s, printed = time.monotonic(), 0.0, ""
    while (state := look()) is not None:
        seconds, detail = time.monotonic() - start, state.get("SecondaryStatus", state[key])
        if detail != printed or seconds - printed_s >= _REPEAT_S:
            printed, printed_s = detail, seconds
            print(f"   {title}: {detail} after {seconds // 60:.0f} min {seconds % 60:02.0f} s", flush=True)
        if not is_busy(state[key]):
            return state
        if seconds > timeout_s:
            late = f"{title} is still {state[key]} after {timeout_s / 60:.0f} minutes"
            raise CloudError(f"{late}; run the same command again to continue.")
        time.sleep(poll_seconds)
    return None


def print_log_tail(logs: Any, group: str, prefix: str | None = None) -> None:
    """Print the last lines of the newest stream of a CloudWatch log group, or why there are none."""
    try:
        with explained(f"read the log {group}"):
            lines = _tail(logs, group, prefix)
    except CloudError as problem:  # a log that cannot be read must not hide the failure it belongs to
        lines = [str(problem)]
    print(f"--- end of the log {group} ---", *(lines or ["(empty)"]), "---", sep="\n", file=sys.stderr, flush=True)


def _tail(logs: Any, group: str, prefix: str | None) -> list[str]:
    # AWS sorts by time only without a prefix.
    query = {"logStreamNamePrefix": prefix} if prefix else {"orderBy": "LastEventTime", "descending": True}
    streams = logs.describe_log_streams(logGroupName=group, **query)["logStreams"]
    if not streams:
        return []
    newest = max(streams, key=lambda stream: stream.get("lastEventTimestamp", 0))["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=newest, limit=_TAIL_LINES, startFromHead=False)
    return [event["message"].rstrip() for event in events["events"]]
