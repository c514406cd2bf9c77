"""AWS clients whose errors are one sentence that names the setting to change."""

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions as aws
from botocore.config import Config
from pydantic import Field

from bert_textclassification.errors import UserError
from ops.config_file import Settings

_RETRIES = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
_REMEDIES = {
    "AccessDenied": "give the caller the policy of ops/policies",
    "AccessDeniedException": "give the caller the policy of ops/policies",
    "ExpiredToken": "sign in again",
    "ExpiredTokenException": "sign in again",
    "InvalidClientTokenId": "sign in again, or check the profile",
    "ResourceLimitExceeded": "ask for a higher quota, or change the instance type or count",
    "ThrottlingException": "wait a minute and run the same command again",
    "UnrecognizedClientException": "sign in again, or check the profile",
}


class CloudError(UserError):
    """AWS refused a request."""


class AwsSettings(Settings):
    """Region and identity."""

    region: str | None = Field(default=None, description="AWS region; default: that of the environment")
    profile: str | None = Field(default=None, description="Profile of ~/.aws; default: that of the environment")
    endpoint_url: str | None = Field(default=None, description="Another server with the AWS protocol, for tests")


def client(service: str, settings: AwsSettings) -> Any:
    """Return a client of `service` with bounded retries and timeouts.

    Raises:
        CloudError: there is no region, or no such profile.
    """
    with explained(f"connect to {service}"):
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
        return session.client(service, endpoint_url=settings.endpoint_url, config=_RETRIES)


@contextlib.contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn an error of boto3 in this block into one sentence.

    Raises:
        CloudError: says what failed, the message of AWS, and what to change.
    """
    try:
        yield
    except aws.NoRegionError:
        raise CloudError(f"Cannot {action}: there is no region; set `region` in the file, or AWS_REGION.") from None
    except (aws.NoCredentialsError, aws.PartialCredentialsError):
        remedy = "run `aws configure sso`, or set AWS_PROFILE"
        raise CloudError(f"Cannot {action}: there are no AWS credentials; {remedy}.") from None
    except aws.ProfileNotFound as problem:
        raise CloudError(f"Cannot {action}: {problem}; change `profile`, or run `aws configure`.") from None
    except aws.ClientError as problem:
        code, message = problem.response["Error"]["Code"], problem.response["Error"].get("Message", "")
        remedy = _REMEDIES.get(code, "change the setting that it names")
        raise CloudError(f"Cannot {action}: {message.rstrip('.')} ({code}); {remedy}.") from problem
    except aws.BotoCoreError as problem:
        raise CloudError(f"Cannot {action}: {problem}.") from problem
