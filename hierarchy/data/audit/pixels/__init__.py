"""What the pixels of a data set are like, and whether they are those of the data set as published."""
