"""Names of the reported metrics. This module imports nothing: commands that only start a job have no torch."""

METRICS = ("accuracy", "f1", "precision", "recall", "average_precision", "average_precision_negative", "roc_auc")
