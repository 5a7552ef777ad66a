"""A worked example of a plug-in package for the WoVR workbench: one file for each thing that it adds."""
