# The serving image with a model in it. One digest pins code and model, and a rollback restores both. A container
# downloads nothing and needs no permission to read a bucket. The build context is the folder of the model:
#   docker build --file ops/model.Dockerfile --tag REGISTRY/bert-textclassification:1 runs/demo/model
ARG SERVE_IMAGE=bert-textclassification:serve
FROM ${SERVE_IMAGE}
COPY --chown=10001 . /opt/ml/model/
