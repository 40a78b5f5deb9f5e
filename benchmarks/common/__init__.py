"""What the benchmarks share: cases, who runs them, clocks, memory, tables."""
