"""The processes of a server: the supervisor that starts nginx and gunicorn, and their configuration files."""
