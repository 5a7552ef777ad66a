"""Who looks at what next, how well people agree, and what is held to be true in the end."""
