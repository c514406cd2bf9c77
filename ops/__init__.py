"""Commands that create cloud resources: `python -m ops.NAME` reads a file of `ops/config`, prints its plan, and changes
something only with `--yes`. The files for other clouds are applied by the tools of their vendors.
"""
