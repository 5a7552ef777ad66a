"""PACE: refining world model and reward on the new policy's episodes, promoted only if better."""
