"""A model of one's own: plain TensorFlow Transform and Keras, nothing of kubetfx's."""
