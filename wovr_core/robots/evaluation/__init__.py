"""Evaluation on a robot that nobody can fool, themselves included: schedule, blinding, records, statistics, report."""
