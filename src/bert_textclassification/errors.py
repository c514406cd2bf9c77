"""Errors that the user can fix. Each message is one sentence: what is wrong, where, and how to fix it."""


class UserError(Exception):
    """Base of all errors with a message for the user."""


class ConfigurationError(UserError):
    """A setting has an unknown name or an invalid value."""


class DataError(UserError):
    """The labelled texts are not usable."""


class ArtifactError(UserError):
    """A model artifact is missing, damaged or of another schema version."""


class EngineUnavailableError(UserError):
    """This installation or this processor cannot run the model's engine."""


class NonFiniteLogitsError(UserError):
    """A model returns logits that are infinite or not a number."""


class HostError(UserError):
    """The hosts of a job cannot connect, disagree, or one of them is lost."""


class NoisyMachineError(UserError):
    """Other processes keep this machine too busy for a meaningful comparison."""


class RequestError(UserError):
    """A prediction request is invalid or cannot be answered now.

    Args:
        code: a stable, machine-readable name of the problem, such as `empty_text`.
        message: one sentence for the user.
        field: the place in the request, such as `instances[3]`.
        status: the HTTP status of the response.
    """

    def __init__(self, code: str, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.status = status

    def as_dict(self) -> dict[str, str | None]:
        """Return code, message and field, as in a response."""
        return {"code": self.code, "message": self.message, "field": self.field}
