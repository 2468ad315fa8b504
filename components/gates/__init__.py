"""Gates that stop a run on bad data, and what they judge by."""
