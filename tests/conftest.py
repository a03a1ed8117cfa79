"""Common to all tests. Being here, it also puts this directory on the import path."""
