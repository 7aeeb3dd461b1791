"""What is wrong with a data set, and whether its pixels are those that were published."""
