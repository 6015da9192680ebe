"""Before Keras is imported: float64 in its backends numpy and jax."""

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")
