"""Forks of imagined rollouts: other actions from one chunk on, imagined in the run's world model, replayed, kept."""
