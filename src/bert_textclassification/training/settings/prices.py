"""What instances cost: a table with its date and source, in YAML."""

import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bert_textclassification.training.settings.files import read_settings

DEFAULT_PRICES = Path(__file__).with_name("prices.yaml")


class Instance(BaseModel):
    """What an instance has and costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cores: int = Field(ge=1, description="Physical cores; a second hardware thread of a core counts nothing")
    dollars_per_hour: float = Field(gt=0)


class Prices(BaseModel):
    """A table of prices, with what a reader must know of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: datetime.date
    source: str
    checked: bool = Field(description="Whether somebody has compared it with the price list on that date")
    instances: dict[str, Instance] = Field(min_length=1)

    @property
    def note(self) -> str:
        """One sentence on where the prices are from."""
        doubt = "" if self.checked else "; not checked against the price list, do so before you rely on them"
        return f"Prices of {self.date}: {self.source}{doubt}."


def read_prices(path: str | Path) -> Prices:
    """Return the table of prices at `path`.

    Raises:
        ConfigurationError: it cannot be read, or has wrong names or values.
    """
    return read_settings(path, Prices)
