"""What becomes the model: feature table, preprocessing, Keras model, training, signatures."""
