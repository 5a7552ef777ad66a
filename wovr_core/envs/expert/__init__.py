"""Scripted demonstrators: what a task's goal asks, composed of skills that look at one instant only.

`composition.expert_action(env)` is the whole of it: the goal's clauses become subgoals, and the first that is
not done acts. `demonstrations.run_expert_episode` records it, under noise and deliberate faults.
"""
