"""What is CUDA's alone: the driver, its errors, its memory, its graphs and the one thread that may touch them."""
