"""Process and machine: seeds, ranks, signals, Slurm, memory, compilation, profiling, console, file writes."""
