"""Put an HTTP API in front of the model: API Gateway and a Lambda function, as one CloudFormation stack.

python -m ops.gateway                     print the plan
python -m ops.gateway --yes               create the stack, or change it to what the file says
python -m ops.gateway --delete --yes      delete it

The settings are in ops/config/gateway.yaml. With `endpoint`, the function calls that SageMaker endpoint; with `image`,
the model runs in the function itself (`model_in_lambda/build.sh` builds the image).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops.aws import client
from ops.config_file import read
from ops.gateway.code import Code
from ops.gateway.settings import GatewaySettings
from ops.gateway.stack import GONE, NEVER_MADE, Stack
from ops.plan import Step, arguments, carry_out, exit_status

TEMPLATE = Path(__file__).resolve().parent / "template.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = arguments(__doc__, "ops/config/gateway.yaml", argv, delete="delete the stack and the function's code")

    def run() -> None:
        settings = read(given.config, GatewaySettings)
        stack = Stack(client("cloudformation", settings.aws), settings.stack)
        carry_out(deletion(settings, stack) if given.delete else creation(settings, stack), given.yes)
        if given.yes and not given.delete:
            for name, value in stack.outputs().items():
                print(f"{name}: {value}")

    return exit_status(run)


def creation(settings: GatewaySettings, stack: Stack) -> list[Step]:
    """Return the steps: upload the code, where there is code, and create or change the stack."""
    code = code_of(settings)
    parameters = settings.parameters(code.key if code else "none")
    is_new: list[bool] = []

    def apply() -> None:
        is_new.append(stack.status() in NEVER_MADE)
        stack.apply(change(settings, parameters))

    def undo() -> None:
        if is_new == [True]:  # CloudFormation itself rolls back the change of an existing stack
            stack.delete()
            if code:
                code.delete_all()

    title = f"create or change the stack {settings.stack}"
    request = {"Parameters": parameters, "Tags": settings.tags}
    return [*([code.upload()] if code else []), Step(title, apply, request, undo=undo)]


def deletion(settings: GatewaySettings, stack: Stack) -> list[Step]:
    """Return the steps that delete everything."""
    code = code_of(settings)
    title = f"delete the stack {stack.name}"
    return [Step(title, stack.delete, is_done=lambda: stack.status() == GONE), *([code.removal()] if code else [])]


def code_of(settings: GatewaySettings) -> Code | None:
    """Return the function's code; None where the function is an image."""
    bucket = settings.code_bucket
    return Code(client("s3", settings.aws), bucket, settings.stack) if bucket else None


def change(settings: GatewaySettings, parameters: dict[str, str]) -> dict[str, Any]:
    """Return the request to CloudFormation."""
    return {
        "TemplateBody": TEMPLATE.read_text(encoding="utf-8"),
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        "Tags": [{"Key": name, "Value": value} for name, value in settings.tags.items()],
    }


if __name__ == "__main__":
    sys.exit(main())
