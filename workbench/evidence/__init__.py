"""What is known of an imagined rollout beside its pictures, gathered from files; what is missing is named."""
