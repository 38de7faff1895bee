"""Text to training batches: corpora, tokenizers, flat token stores, batches as a function of the step.

`scaling.data.prepare.prepare` is the way in. Nothing here imports jax or TensorFlow; TFDS only where text is read.
"""
