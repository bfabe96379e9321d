package blockio

// Waiter is a Device that tells before a read has to wait for the host. A server that
// handles requests in the goroutine that took them learns from it when somebody else
// must take the next.
type Waiter interface {
	// OnWait sets what is called, from the reading goroutine, before a read waits.
	// It replaces what was set before.
	OnWait(tell func())
}

// OnWait sets tell on dev, or on the nearest device below it that is a Waiter; false
// if there is none.
func OnWait(dev Device, tell func()) bool {
	for dev != nil {
		if w, ok := dev.(Waiter); ok {
			w.OnWait(tell)
			return true
		}
		u, ok := dev.(Unwrapper)
		if !ok {
			break
		}
		dev = u.Unwrap()
	}
	return false
}
