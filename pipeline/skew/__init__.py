"""The pipeline that holds captured requests against the training data."""
