"""The store: what the runs' files hold, indexed in a database that can be rebuilt from them at any time."""
