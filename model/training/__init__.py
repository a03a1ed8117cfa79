"""Learning in NumPy: layers and gradients, float32 and int8 training, quantisation."""
