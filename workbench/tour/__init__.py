"""A guided tour for a class: ten steps whose every sentence stands on a number of one run."""
