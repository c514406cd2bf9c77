"""The parts of a SageMaker endpoint: one module each."""
