"""The whole model in Lambda: the project's application, called with each event of an HTTP API."""

from apig_wsgi import make_lambda_handler

from bert_textclassification.serving.wsgi import app

handler = make_lambda_handler(app, binary_support=True)
