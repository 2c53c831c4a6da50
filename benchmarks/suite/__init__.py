"""What the benchmarks with sections share: options, the main loop, hashes of code, a store, intervals."""
