"""What sits around the method: plots, report, scrubber, widgets."""
