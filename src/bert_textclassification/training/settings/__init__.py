"""Read settings from command lines, YAML files and notebook parameters."""
