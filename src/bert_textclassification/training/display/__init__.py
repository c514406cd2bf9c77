"""What people see: tables in Markdown, the style of figures, progress bars."""
