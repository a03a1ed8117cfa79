"""Numbers and learning: data sets, float training, int8 quantisation, and the exact reference.

The package knows nothing of hardware and imports nothing else of the project.
"""
