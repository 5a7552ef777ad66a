"""The catalogue: every rollout and real episode of some runs, found, filtered, pictured and opened by id."""
