"""What the pixels of a data set look like, and whether they are those of the data set as published."""
