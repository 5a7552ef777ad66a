"""The success classifier and its calibration."""
