"""Programs for those who develop EdgeModel."""
