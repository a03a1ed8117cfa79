"""From float models of other tools to int8 `.tflite` files."""
