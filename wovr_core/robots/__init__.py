"""Robots: one interface, the Franka driver, its simulators, cameras, and safety as a process of its own.

Nothing here imports a model, a policy or torch.
"""
