"""Safety in a process of its own: limiter, guard, messages. Standard library and numpy only."""
