"""Create what a cloud needs to train and serve: each module is a command, `python -m ops.NAME`, that reads a file of
`ops/config`, prints its plan, and changes something only with `--yes`.
"""
