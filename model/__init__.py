"""Numbers and learning: data sets, float training, int8 quantisation, and the exact reference.

The package knows nothing of hardware and imports nothing else of the project.

It can be read from top to bottom. `recipes.train` is the whole story in one function; then

- `datasets`, `augmentation`: the pictures, and pictures that are nearly the same;
- `layers`, `network`: what is computed, and the chain rule that goes back through it;
- `loss`, `optimizer`, `schedule`, `training`: what is to become small, and how; `history` and
  `checkpoint` keep what came of it;
- `folding`, `quantization`, `quantized_training`: from float32 to int8, and learning on in int8;
- `graph`, `tflite`: the network as others know it, and its file;
- `fixed_point`, `reference`: the arithmetic of int8, which the hardware has to match byte for byte.
"""
