"""Prices of instances: a YAML table with its date and source."""

import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bert_textclassification.training.settings.files import read_settings

DEFAULT_PRICES = Path(__file__).with_name("prices.yaml")


class Instance(BaseModel):
    """Cores and price of an instance type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cores: int = Field(ge=1, description="Physical cores, without hardware threads")
    dollars_per_hour: float = Field(gt=0)


class Prices(BaseModel):
    """A table of prices with its date and source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: datetime.date
    source: str
    checked: bool = Field(description="Whether somebody has compared it with the price list on that date")
    instances: dict[str, Instance] = Field(min_length=1)

    @property
    def note(self) -> str:
        """Date and source of the prices, in a sentence."""
        warning = "" if self.checked else "; not verified: compare them with the price list before you rely on them"
        return f"Prices of {self.date}: {self.source}{warning}."


def read_prices(path: str | Path) -> Prices:
    """Return the table of prices in the YAML file `path`.

    Raises:
        ConfigurationError: the file cannot be read, or has wrong names or values.
    """
    return read_settings(path, Prices)
