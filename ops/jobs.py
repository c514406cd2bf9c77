"""SageMaker jobs: started once for the same settings, waited for, and found again after an interruption."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ops import config_file, plan
from ops.aws import CloudError, explained
from ops.plan import Step
from ops.sagemaker_settings import Clients, SageMakerSettings
from ops.waiting import is_busy, print_log_tail, until_settled

S = TypeVar("S", bound=SageMakerSettings)
_SLACK_S = 3600  # for the queue and for starting machines, beside the job itself


@dataclass(frozen=True)
class Kind:
    """How the API names one kind of job."""

    noun: str  # for people: training job
    operation: str  # in the names of operations: training_job
    word: str  # in the names of keys: TrainingJob
    log_group: str  # CloudWatch group of the containers' output


TRAINING = Kind("training job", "training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs")
TRANSFORM = Kind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs")
TUNING = Kind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob", "/aws/sagemaker/TrainingJobs")


@dataclass(frozen=True)
class Job:
    """All jobs whose names are `name` with a suffix; the one that was started last counts.

    Attributes:
        name: prefix of their names; the same settings give the same name.
        start: starts a job and returns its name.
        request: what `start` sends, for the plan.
        max_s: longest time of a job, in seconds.
        again: start another job where one is complete.
    """

    clients: Clients
    kind: Kind
    name: str
    start: Callable[[], str]
    request: Mapping[str, Any]
    poll_seconds: float
    max_s: float
    again: bool = False

    def step(self) -> Step:
        """Return the step that runs the job; after an interruption the same command finds the running job."""
        return Step(f"run the {self.kind.noun} {self.name}", self._run, self.request, self._is_done)

    def stop_step(self) -> Step:
        """Return the step that stops the job."""
        return Step(f"stop the {self.kind.noun} {self.name}", self._stop)

    def latest(self) -> Mapping[str, Any] | None:
        """Return AWS's description of the job that was started last; None where there is none.

        Raises:
            CloudError: AWS refuses.
        """
        with explained(f"look at the {self.kind.noun} {self.name}"):
            listed = self._call("list", "s", NameContains=self.name, SortBy="CreationTime", SortOrder="Descending")
            names = [summary[f"{self.kind.word}Name"] for summary in listed[f"{self.kind.word}Summaries"]]
            return next((self._describe(name) for name in names if name.startswith(self.name)), None)

    def running(self) -> str | None:
        """Return the name of the latest job; None where it has ended, or there is none."""
        job = self.latest()
        return str(job[f"{self.kind.word}Name"]) if job and is_busy(self._status(job)) else None

    def _run(self) -> None:
        if name := self.running():
            return self._wait(name)
        with explained(f"start the {self.kind.noun} {self.name}"):
            name = self.start()
        self._wait(name)

    def _wait(self, name: str) -> None:
        title, key = f"The {self.kind.noun} {name}", f"{self.kind.word}Status"
        job = until_settled(lambda: self._describe(name), key, title, self.poll_seconds, self.max_s + _SLACK_S)
        if job is None:
            raise CloudError(f"{title} cannot be found; run the same command again.")
        if self._status(job) != "Completed":
            print_log_tail(self.clients.logs, self.kind.log_group, name)
            reason = job.get("FailureReason", "AWS gives no reason").rstrip(".")
            raise CloudError(f"{title} is {self._status(job)}: {reason}; see its log above.")

    def _is_done(self) -> bool:
        job = None if self.again else self.latest()
        return job is not None and self._status(job) == "Completed"

    def _stop(self) -> None:
        if name := self.running():
            with explained(f"stop the {self.kind.noun} {self.name}"):
                self._call("stop", **{f"{self.kind.word}Name": name})

    def _describe(self, name: str) -> Mapping[str, Any]:
        with explained(f"look at the {self.kind.noun} {name}"):
            return dict(self._call("describe", **{f"{self.kind.word}Name": name}))

    def _status(self, job: Mapping[str, Any]) -> str:
        return str(job[f"{self.kind.word}Status"])

    def _call(self, verb: str, plural: str = "", **request: Any) -> Any:
        return getattr(self.clients.sagemaker, f"{verb}_{self.kind.operation}{plural}")(**request)


def command(
    argv: Sequence[str] | None,
    description: str | None,
    config: str,
    model: type[S],
    job_of: Callable[[Clients, S, bool], Job],
    before: Callable[[S, Job], list[Step]] = lambda settings, job: [],
    summary: Callable[[Mapping[str, Any]], str] | None = None,
) -> int:
    """Run the command of a kind of job: `--config`, `--yes`, `--again`, `--stop`; return the exit status.

    Args:
        argv: the command line; None for that of the process.
        description: text of `--help`.
        config: default file of settings.
        model: class of the settings.
        job_of: the job, given clients, settings, and whether `--again` was given.
        before: steps before the job.
        summary: the last line, given AWS's description of the complete job.
    """
    given = plan.arguments(
        description, config, argv,
        again="start another job where one is complete, for example after the data have changed", stop="stop the job",
    )  # fmt: skip

    def run() -> None:
        settings = config_file.read(given.config, model)
        job = job_of(Clients(settings), settings, given.again)
        plan.carry_out([job.stop_step()] if given.stop else [*before(settings, job), job.step()], given.yes)
        if summary and given.yes and not given.stop and (done := job.latest()):
            print(summary(done))

    return plan.exit_status(run)
