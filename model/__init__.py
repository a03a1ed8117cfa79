"""Numbers and learning: data sets, float training, int8 quantisation, and the exact reference.

The package knows nothing of hardware and imports nothing else of the project.

It can be read from top to bottom. `model.training.recipes.train` is the whole process in one
function. The other modules, in reading order:

- `datasets`: the pictures; `training.augmentation`: pictures that are nearly the same;
- `training.layers`, `training.network`: what is computed, and the chain rule through it;
- `training.loss`, `training.optimizer`, `training.schedule`, `training.fit`: what training
  minimises, and how; `training.history` and `training.checkpoint` record it;
- `training.folding`, `training.quantization`, `training.quantized_training`: from float32 to int8,
  and further training in int8;
- `int8.graph`, `int8.tflite`: the int8 network, and its file;
- `int8.fixed_point`, `int8.operators`, `int8.reference`: the arithmetic of int8, which the hardware
  must match byte for byte;
- `zoo`: trained models; `plots`: pictures of training.
"""
