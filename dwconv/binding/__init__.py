"""What surrounds the compiled module: parts of its source, its header, what to say without it."""
