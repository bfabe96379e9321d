package mpage

import "sync/atomic"

// Stats count what an engine did. Their relations say how well it does: bios per
// request, mappings per bio, riders per boundary.
type Stats struct {
	Requests  uint64 // page sets read
	Writes    uint64 // page sets written
	Mappings  uint64 // calls of mappers
	Bios      uint64 // bios built; the plug may make fewer I/Os of them
	Fallbacks uint64 // pages that were not one piece
	Riders    uint64 // indirect blocks that rode along
	Bridges   uint64 // known indirect blocks that were read over
	Lent      uint64 // requests that nothing was read for, see Lend
	BetsWon   uint64 // bets whose pages were all there
	BetsLost  uint64 // bets that had to be read again, at least in part
}

// counters are an engine's Stats while it runs.
type counters struct {
	requests, writes, mappings, bios, fallbacks, riders, bridges, lent, won, lost atomic.Uint64
}

func (c *counters) add(s *Stats) {
	for _, p := range [...]struct {
		to *atomic.Uint64
		n  uint64
	}{
		{&c.requests, s.Requests}, {&c.writes, s.Writes}, {&c.mappings, s.Mappings}, {&c.bios, s.Bios},
		{&c.fallbacks, s.Fallbacks}, {&c.riders, s.Riders}, {&c.bridges, s.Bridges}, {&c.lent, s.Lent},
		{&c.won, s.BetsWon}, {&c.lost, s.BetsLost},
	} {
		if p.n != 0 {
			p.to.Add(p.n)
		}
	}
}

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	c := &e.stats
	return Stats{
		Requests:  c.requests.Load(),
		Writes:    c.writes.Load(),
		Mappings:  c.mappings.Load(),
		Bios:      c.bios.Load(),
		Fallbacks: c.fallbacks.Load(),
		Riders:    c.riders.Load(),
		Bridges:   c.bridges.Load(),
		Lent:      c.lent.Load(),
		BetsWon:   c.won.Load(),
		BetsLost:  c.lost.Load(),
	}
}
