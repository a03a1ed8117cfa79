"""Pictures and labels: the bundled data sets, folders, and NumPy files."""
