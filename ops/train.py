"""Train in SageMaker with the project's own image.

    python -m ops.train --config ops/config/training.yaml            # print the plan
    python -m ops.train --config ops/config/training.yaml --yes      # do it; once for the same settings
    python -m ops.train --config ops/config/training.yaml --again --yes
    python -m ops.train --config ops/config/training.yaml --stop --yes

An interruption leaves the job running; the same command waits for it again. Last line: where the model is.
"""

import sys
from collections.abc import Sequence

from ops import config_file, plan
from ops.jobs import TRAINING, Job
from ops.sagemaker_sdk import model_trainer, start_training
from ops.sagemaker_settings import Clients
from ops.training import TrainingSettings, job_name, job_request, with_checkpoints


def training_job(clients: Clients, settings: TrainingSettings, again: bool = False) -> Job:
    """Return the job of the settings."""
    plain = job_request(settings)
    name = job_name(settings, plain)
    request = with_checkpoints(plain, settings, name)

    def start() -> str:
        return start_training(model_trainer(settings, name, request))

    longest = settings.max_wait_s if settings.spot else settings.max_s
    return Job(clients, TRAINING, name, start, request, settings.poll_seconds, longest, again)


def run(config: str, yes: bool, again: bool, stop: bool) -> None:
    """Carry out what the file asks for.

    Raises:
        UserError: the settings are wrong, AWS refuses, or the job fails.
    """
    settings = config_file.read(config, TrainingSettings)
    job = training_job(Clients(settings), settings, again)
    plan.carry_out([job.stop_step() if stop else job.step()], yes)
    if yes and not stop and (done := job.latest()):
        print(f"model_data: {done['ModelArtifacts']['S3ModelArtifacts']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = plan.arguments(
        __doc__,
        "ops/config/training.yaml",
        argv,
        again="train once more what is complete, as after the data have changed",
        stop="stop the job",
    )
    return plan.exit_status(lambda: run(given.config, given.yes, given.again, given.stop))


if __name__ == "__main__":
    sys.exit(main())
