"""Jobs of SageMaker: started once for the same settings, waited for, found again after an interruption."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.aws import CloudError, explained
from ops.plan import Step
from ops.sagemaker_settings import Clients
from ops.waiting import is_busy, print_log_tail, until_settled

_SLACK_S = 3600  # what a queue and providing machines may take beside the job


@dataclass(frozen=True)
class Kind:
    """How the API calls one kind of jobs.

    Attributes:
        noun: for people, as `training job`.
        operation: in the names of operations, as `training_job`.
        word: in the names of keys, as `TrainingJob`.
        log_group: where containers print to.
    """

    noun: str
    operation: str
    word: str
    log_group: str


TRAINING = Kind("training job", "training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs")
TRANSFORM = Kind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs")
TUNING = Kind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob", "/aws/sagemaker/TrainingJobs")


@dataclass(frozen=True)
class Job:
    """The jobs with one name and a number behind it; the last started one counts.

    Attributes:
        name: what their names begin with: the same settings, the same name.
        start: starts one more, and returns its name.
        request: what `start` sends, for the plan.
        max_s: seconds that a job may take.
        again: whether one that is complete is no reason not to start another.
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
        """Return the step of the plan; an interruption leaves the job running, and the same command finds it."""
        return Step(f"run the {self.kind.noun} {self.name}", self._run, self.request, self._is_done)

    def stop_step(self) -> Step:
        """Return the step that stops it."""
        return Step(f"stop the {self.kind.noun} {self.name}", self._stop)

    def latest(self) -> Mapping[str, Any] | None:
        """Return the last started job as AWS describes it, None where there is none.

        Raises:
            CloudError: AWS refuses.
        """
        with explained(f"look at the {self.kind.noun} {self.name}"):
            listed = self._ask("list", "s", NameContains=self.name, SortBy="CreationTime", SortOrder="Descending")
            names = [one[f"{self.kind.word}Name"] for one in listed[f"{self.kind.word}Summaries"]]
            own = [name for name in names if name.startswith(self.name)]
            return self._describe(own[0]) if own else None

    def _run(self) -> None:
        now = self.latest()
        if now is not None and is_busy(self._status(now)):
            return self._wait(now[f"{self.kind.word}Name"])
        with explained(f"start the {self.kind.noun} {self.name}"):
            name = self.start()
        self._wait(name)

    def _wait(self, name: str) -> None:
        what, key = f"The {self.kind.noun} {name}", f"{self.kind.word}Status"
        now = until_settled(lambda: self._look(name), key, what, self.poll_seconds, self.max_s + _SLACK_S)
        if now is None:
            raise CloudError(f"{what} cannot be found; run the same command again.")
        if self._status(now) != "Completed":
            print_log_tail(self.clients.logs, self.kind.log_group, name)
            reason = now.get("FailureReason", "AWS gives no reason").rstrip(".")
            raise CloudError(f"{what} is {self._status(now)}: {reason}; see its log above.")

    def _is_done(self) -> bool:
        now = None if self.again else self.latest()
        return now is not None and self._status(now) == "Completed"

    def _stop(self) -> None:
        now = self.latest()
        if now is not None and is_busy(self._status(now)):
            with explained(f"stop the {self.kind.noun} {self.name}"):
                self._ask("stop", **{f"{self.kind.word}Name": now[f"{self.kind.word}Name"]})

    def _look(self, name: str) -> Mapping[str, Any]:
        with explained(f"look at the {self.kind.noun} {name}"):
            return self._describe(name)

    def _describe(self, name: str) -> Mapping[str, Any]:
        return dict(self._ask("describe", **{f"{self.kind.word}Name": name}))

    def _status(self, now: Mapping[str, Any]) -> str:
        return str(now[f"{self.kind.word}Status"])

    def _ask(self, verb: str, plural: str = "", **request: Any) -> Any:
        return getattr(self.clients.sagemaker, f"{verb}_{self.kind.operation}{plural}")(**request)
