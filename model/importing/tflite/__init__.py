"""Float `.tflite` files to float graphs."""
