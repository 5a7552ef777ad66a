"""The action-conditioned video world model and the environment made of it."""
