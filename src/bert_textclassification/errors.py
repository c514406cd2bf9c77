"""Errors that are the user's to mend: each message is one sentence with what, where and how."""


class UserError(Exception):
    """Base of every error whose message is meant for the person who runs the product."""


class ConfigurationError(UserError):
    """A setting has a wrong name or a value outside its bounds."""


class DataError(UserError):
    """The labelled texts cannot be used as they are."""


class ArtifactError(UserError):
    """A model artifact is missing, damaged or from another schema version."""


class EngineUnavailableError(UserError):
    """This installation or this processor cannot run the engine that a model was made for."""


class NonFiniteLogitsError(UserError):
    """A model gives logits that are infinite or not a number, so its texts have no score."""


class HostError(UserError):
    """The hosts of a job do not find each other, disagree, or one of them is lost."""


class NoisyMachineError(UserError):
    """Something else keeps this machine so busy that a comparison would say nothing."""


class RequestError(UserError):
    """A prediction request cannot be answered as it is.

    Args:
        code: a stable, machine-readable name of the problem, such as `empty_text`.
        message: one sentence for people.
        field: where in the request, such as `instances[3]`.
        status: the HTTP status the server answers with.
    """

    def __init__(self, code: str, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.status = status

    def as_dict(self) -> dict[str, str | None]:
        """Return code, message and field as they appear in a reply."""
        return {"code": self.code, "message": self.message, "field": self.field}
