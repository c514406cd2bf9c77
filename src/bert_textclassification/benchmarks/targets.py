"""Bounds that measured figures should keep, reached or missed: both are said."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound that a figure should keep."""

    figure: str
    meaning: str
    bound: float
    is_lower_bound: bool = False

    def reached(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return value >= self.bound if self.is_lower_bound else value <= self.bound

    def verdict(self, value: float) -> str:
        """Return "reached" or "MISSED"."""
        return "reached" if self.reached(value) else "MISSED"

    def wanted(self) -> str:
        """Return the bound for people."""
        return f"{'at least' if self.is_lower_bound else 'at most'} {self.bound:g}"

    def line(self, value: float) -> str:
        """Return one line for people."""
        return f"{self.verdict(value)}: {self.meaning}: {value:.2f}, target {self.wanted()}"
