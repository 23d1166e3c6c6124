"""Training objectives other than cross entropy, one module each."""
