"""Markdown tables, the style of figures, and progress bars."""
