"""How good a classifier is: metrics, significance, calibration, thresholds, slices, behavioral tests."""
