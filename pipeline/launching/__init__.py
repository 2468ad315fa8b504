"""One step: from the graph's IR through TFX's Launcher to its facts and its outcome."""
