"""The image and a model to serve, as the tests of containers have them."""

from tests.container.conftest import images, model  # noqa: F401 - fixtures
