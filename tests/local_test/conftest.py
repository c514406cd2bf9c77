"""The image and a model to serve, from the container tests."""

from tests.container.conftest import images, model  # noqa: F401 - fixtures
