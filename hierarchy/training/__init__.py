"""From settings and faces to trained stages: the pipeline, its steps, and how Keras fits a stage."""
