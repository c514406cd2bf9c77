"""Settings as people give them: command lines, YAML files, notebook parameters."""
