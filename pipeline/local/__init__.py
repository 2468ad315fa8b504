"""A run on this machine: the steps in order, the screen, the summary, the serve check."""
