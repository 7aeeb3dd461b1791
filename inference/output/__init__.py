"""Where predictions go: rows, drawings, timelines and the screen."""
