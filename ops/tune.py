"""Search for the best settings of training in SageMaker, in the same space as `make search`.

    python -m ops.tune --config ops/config/tuning.yaml            # print the plan
    python -m ops.tune --config ops/config/tuning.yaml --yes      # do it; once for the same settings
    python -m ops.tune --config ops/config/tuning.yaml --again --yes
    python -m ops.tune --config ops/config/tuning.yaml --stop --yes

An interruption leaves the job running; the same command waits for it again. It ends with the best settings.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ops import config_file, plan
from ops.jobs import TUNING, Job
from ops.sagemaker_sdk import tuner
from ops.sagemaker_settings import Clients, with_digest
from ops.tuning import TuningSettings, tuning_request


def tuning_job(clients: Clients, settings: TuningSettings, again: bool = False) -> Job:
    """Return the job of the settings."""
    request = tuning_request(settings)
    name = with_digest(settings.name, {key: value for key, value in request.items() if key != "Tags"})

    def start() -> str:
        numbered = f"{name}-{int(time.time()):x}"  # 32 characters are allowed
        tuner(settings, name, request).tune(job_name=numbered, wait=False)
        return numbered

    return Job(clients, TUNING, name, start, request, settings.poll_seconds, settings.stop_after_s, again)


def best(now: Mapping[str, Any]) -> str:
    """Return what a finished search has found, in one line."""
    job = now.get("BestTrainingJob")
    if not job:
        return "No job has reported the objective; see their logs."
    values = " ".join(f"{name}={value.strip(chr(34))}" for name, value in job["TunedHyperParameters"].items())
    metric = job["FinalHyperParameterTuningJobObjectiveMetric"]
    return f"best: {job['TrainingJobName']} {metric['MetricName']}={metric['Value']:.4f} with {values}"


def run(config: str, yes: bool, again: bool, stop: bool) -> None:
    """Carry out what the file asks for.

    Raises:
        UserError: the settings are wrong, AWS refuses, or the job fails.
    """
    settings = config_file.read(config, TuningSettings)
    job = tuning_job(Clients(settings), settings, again)
    plan.carry_out([job.stop_step() if stop else job.step()], yes)
    if yes and not stop and (done := job.latest()):
        print(best(done))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = plan.arguments(
        __doc__,
        "ops/config/tuning.yaml",
        argv,
        again="search once more where a search is complete, as after the data have changed",
        stop="stop the job",
    )
    return plan.exit_status(lambda: run(given.config, given.yes, given.again, given.stop))


if __name__ == "__main__":
    sys.exit(main())
