"""Which nodes lose most by being quantized, and which of them go back to float."""
