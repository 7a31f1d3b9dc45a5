"""Statistics that all evaluations share: intervals, correlations, calibration."""
