package cache

// Present is how many blocks the regions' counters say are in the tables.
func (c *Cache) Present() (n int) {
	for i := range c.present.counts {
		n += int(c.present.counts[i].Load())
	}
	return n
}
