"""Targets of measured figures; reports say of each whether it is reached or missed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """The bound of a figure: an upper bound, or a lower one."""

    figure: str
    meaning: str
    bound: float
    is_lower_bound: bool = False

    def reached(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        return value >= self.bound if self.is_lower_bound else value <= self.bound

    def verdict(self, value: float) -> str:
        """Return "reached" or "MISSED"."""
        return "reached" if self.reached(value) else "MISSED"

    def wanted(self) -> str:
        """Return the bound as text, such as "at most 5"."""
        return f"{'at least' if self.is_lower_bound else 'at most'} {self.bound:g}"

    def line(self, value: float) -> str:
        """Return the verdict with the value and the target, as one line."""
        return f"{self.verdict(value)}: {self.meaning}: {value:.2f}, target {self.wanted()}"
