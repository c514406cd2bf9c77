"""What can go wrong with any cloud."""

from bert_textclassification.errors import UserError


class CloudError(UserError):
    """A cloud refused a request."""
