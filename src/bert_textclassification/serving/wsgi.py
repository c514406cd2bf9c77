"""What gunicorn imports: `bert_textclassification.serving.wsgi:app`."""

from bert_textclassification.serving.api import create_app
from bert_textclassification.serving.config import ServingConfig

app = create_app(ServingConfig.from_environment())
