"""What a data set teaches, beside what it means to teach."""
