"""Getting the model and the dataset onto the local disk, bounded in bytes and time, digest checked first."""
