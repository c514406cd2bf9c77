"""What tests say when an undocumented part of another library, which an adapter of ours relies on, is gone."""

import inspect
from importlib.metadata import version


def require(library: str, owner: object, name: str, adapter: str) -> None:
    """Fail in one sentence if `owner` of the library has no `name`."""
    assert hasattr(owner, name), f"{_remedy(library, adapter)}: {owner.__name__} has no {name}."


def require_parameters(library: str, owner: object, name: str, parameters: str, adapter: str) -> None:
    """Fail in one sentence if the method has other parameters than those that ours overrides or calls."""
    require(library, owner, name, adapter)
    now = list(inspect.signature(getattr(owner, name)).parameters)
    assert now == parameters.split(), f"{_remedy(library, adapter)}: {owner.__name__}.{name} takes {now}."


def require_text(library: str, owner: object, text: str, adapter: str) -> None:
    """Fail in one sentence if the source of `owner` does not have `text` any more."""
    assert text in inspect.getsource(owner), f"{_remedy(library, adapter)}: {owner.__name__} has no `{text}`."


def _remedy(library: str, adapter: str) -> str:
    return f"Adapt {adapter} to {library} {version(library)}, or narrow its range in pyproject.toml"
