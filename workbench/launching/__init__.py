"""Launching jobs for people: options with their help, drafts checked field by field, quotas, watching."""
