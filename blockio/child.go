package blockio

import "sync"

// child is a bio that a stacked device sends down in place of its submitter's.
type child struct {
	Bio
	parent *Bio
	watch  watcher // told of the completion; may be nil
}

// watcher looks at bios that its device has passed down, when they are complete.
type watcher interface {
	watched(*Bio)
}

func newChild() *child {
	c := new(child)
	c.Done = func(*Bio) { // made once, so that a reused child costs no allocation
		if c.watch != nil {
			c.watch.watched(&c.Bio)
		}
		c.parent.Cold = c.Cold
		c.parent.Complete(c.N, c.Err)
	}
	return c
}

// batch collects children, reusing their memory.
type batch struct {
	children []*child // all there are; the first used are taken
	used     int
	pending  []*Bio
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// maxKept bounds what a released batch keeps.
const maxKept = 1024

func newBatch(n int) *batch {
	b := batches.Get().(*batch)
	if cap(b.pending) < n {
		b.pending = make([]*Bio, 0, n)
	}
	return b
}

// add appends a copy of parent that completes it.
func (t *batch) add(parent *Bio) *child {
	if t.used == len(t.children) {
		t.children = append(t.children, newChild())
	}
	c := t.children[t.used]
	t.used++
	done := c.Done
	c.Bio = *parent
	c.Done, c.parent = done, parent
	t.pending = append(t.pending, &c.Bio)
	return c
}

// submit sends what has been added since the last time.
func (t *batch) submit(dev Device) {
	if len(t.pending) > 0 {
		dev.Submit(t.pending...)
		clear(t.pending)
		t.pending = t.pending[:0]
	}
}

// release gives the batch back; everything in it must be complete.
func (t *batch) release() {
	if len(t.children) > maxKept {
		t.children = t.children[:maxKept]
	}
	for _, c := range t.children[:min(t.used, len(t.children))] {
		c.Vecs, c.parent, c.watch, c.Err = nil, nil, nil, nil
	}
	t.used = 0
	batches.Put(t)
}
