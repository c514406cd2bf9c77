"""A CloudFormation stack: created or changed through a change set, deleted, and explained when it fails."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from ops.aws import CloudError, explained

POLL_S = 2.0
GONE = "DELETE_COMPLETE"
NEVER_MADE = {"REVIEW_IN_PROGRESS", GONE}  # no resources exist
HALF_MADE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}  # can only be deleted
_UNFINISHED = ("CREATE_PENDING", "CREATE_IN_PROGRESS")
_NO_CHANGE = ("didn't contain changes", "No updates are to be performed")
_CANCELLED = ("cancelled", "canceled")  # stopped because another resource failed


class Stack:
    """A stack.

    Args:
        cloudformation: a client of boto3.
        name: the stack's name.
        tell: called with each line of progress.
    """

    def __init__(self, cloudformation: Any, name: str, tell: Callable[[str], None] = print) -> None:
        self._client, self.name, self._tell = cloudformation, name, tell

    def status(self) -> str:
        """Return the stack's status; DELETE_COMPLETE when there is none.

        Raises:
            CloudError: AWS refuses.
        """
        return str(self._described().get("StackStatus", GONE))

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the stack, such as the URL of its API."""
        return {output["OutputKey"]: output["OutputValue"] for output in self._described().get("Outputs", [])}

    def apply(self, request: Mapping[str, Any]) -> None:
        """Create or change the stack, after an operation that is still running has ended.

        Args:
            request: TemplateBody, Parameters, Capabilities and Tags of CloudFormation's CreateChangeSet.

        Raises:
            CloudError: AWS refuses, or a resource fails, which the message names; CloudFormation then rolls back.
        """
        while (status := self.status()).endswith("_IN_PROGRESS") and status not in NEVER_MADE:
            self._tell(f"{self.name} is {status}; waiting for its end")
            time.sleep(POLL_S)
        if status in HALF_MADE:
            self.delete()
        kind = "CREATE" if self.status() in NEVER_MADE else "UPDATE"
        if not (change_set := self._prepare(request, kind)):
            self._tell(f"nothing to change in {self.name}")
            return
        seen = self._last_event()
        with explained(f"change the stack {self.name}"):
            self._client.execute_change_set(ChangeSetName=change_set)
        self._follow(seen, success=f"{kind}_COMPLETE")

    def delete(self) -> None:
        """Delete the stack with its resources, if there is one.

        Raises:
            CloudError: a resource cannot be deleted, which the message names.
        """
        if self.status() == GONE:
            return
        # A deleted stack is found by its id only.
        stack, seen = str(self._described()["StackId"]), self._last_event()
        with explained(f"delete the stack {self.name}"):
            self._client.delete_stack(StackName=stack)
        self._follow(seen, success=GONE, stack=stack)

    def _described(self, stack: str | None = None) -> dict[str, Any]:
        with explained(f"describe the stack {self.name}"):
            try:
                stacks = self._client.describe_stacks(StackName=stack or self.name)["Stacks"]
            except ClientError as problem:
                if "does not exist" in problem.response["Error"].get("Message", ""):
                    return {}
                raise
        return dict(stacks[0]) if stacks else {}

    def _prepare(self, request: Mapping[str, Any], kind: str) -> str | None:
        """Return the id of a change set, after printing its changes; None where there is nothing to change."""
        names = {"StackName": self.name, "ChangeSetName": f"change-{time.time_ns()}", "ChangeSetType": kind}
        with explained(f"prepare the stack {self.name}"):
            change_set = str(self._client.create_change_set(**names, **request)["Id"])
            while (made := self._client.describe_change_set(ChangeSetName=change_set))["Status"] in _UNFINISHED:
                time.sleep(POLL_S)
        if made["Status"] == "CREATE_COMPLETE":
            for change in (entry["ResourceChange"] for entry in made.get("Changes", [])):
                self._tell(f"  {change['Action']} {change['ResourceType']} {change['LogicalResourceId']}")
            return change_set
        with explained(f"delete the change set {names['ChangeSetName']}"):
            self._client.delete_change_set(ChangeSetName=change_set)
        reason = str(made.get("StatusReason", "")).rstrip(".")
        if any(words in reason for words in _NO_CHANGE):
            return None
        raise CloudError(f"Cannot change the stack {self.name}: {reason}; change the setting that it names.")

    def _follow(self, seen: str | None, success: str, stack: str | None = None) -> None:
        """Print each event after the event `seen` until one of them says that the operation has ended."""
        failed: list[Mapping[str, Any]] = []
        status = ""
        while status != success:
            for event in self._events_after(seen, stack):
                seen = event["EventId"]
                self._tell(f"  {event['ResourceStatus']} {event['ResourceType']} {event['LogicalResourceId']}")
                if event["LogicalResourceId"] == self.name:
                    status = str(event["ResourceStatus"])
                elif event["ResourceStatus"].endswith("_FAILED"):
                    failed.append(event)
            if status.endswith(("_COMPLETE", "_FAILED")) and status != success:
                raise CloudError(f"The stack {self.name} ended with {status}{_cause(failed)}.")
            if success == GONE and self._described(stack).get("StackStatus", GONE) == GONE:
                return
            time.sleep(POLL_S)

    def _events_after(self, seen: str | None, stack: str | None) -> list[Mapping[str, Any]]:
        """Return the events after the event `seen`, oldest first."""
        newer: list[Mapping[str, Any]] = []
        for event in self._events(stack):
            if event["EventId"] == seen:
                break
            newer.append(event)
        return newer[::-1]

    def _events(self, stack: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the stack's events, newest first."""
        with explained(f"follow the stack {self.name}"):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack or self.name):
                yield from page["StackEvents"]

    def _last_event(self) -> str | None:
        return next((str(event["EventId"]) for event in self._events()), None)


def _cause(failed: list[Mapping[str, Any]]) -> str:
    """Return the resource that failed first, with its reason; later ones may only be cancelled."""
    for event in failed:
        reason = str(event.get("ResourceStatusReason", "")).rstrip(".")
        if reason and not any(words in reason.lower() for words in _CANCELLED):
            return f": {event['LogicalResourceId']} ({event['ResourceType']}) failed: {reason}"
    return "; the console of CloudFormation shows the reason"
