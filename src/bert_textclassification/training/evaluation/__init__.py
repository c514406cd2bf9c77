"""Evaluate a classifier: metrics, significance tests, calibration, thresholds, slices, behavioral tests."""
