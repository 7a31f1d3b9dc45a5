"""The statistics that all evaluations share: intervals, correlations, ranks, calibration."""
