"""TFX components of our own, one module or small package each."""
