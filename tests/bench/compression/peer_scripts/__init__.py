"""The peers, each as a program: MODEL DATASET OUT, and what its options say. They answer with one line of JSON."""
