"""Int8 networks as TensorFlow Lite has them: the graph, its file, and the exact arithmetic."""
