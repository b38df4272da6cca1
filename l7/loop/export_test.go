package loop

// WithFaults returns c for loops between which and the operating system faults happen, the same ones for the same seed as far as the system itself repeats. See faults.
func (c Config) WithFaults(seed uint64, hostile bool) Config {
	c.wrap = func(io netIO) netIO { return newFaultIO(io, seed, hostile) }
	return c
}
