package fusefs

// MountError tells why a file system could not be mounted or unmounted.
type MountError struct {
	Dir    string // the mount point
	Reason string
	Advice string // what to do, where the host alone decides that; may be empty
	Err    error  // what the host said; may be nil
}

// Error says it in one line.
func (e *MountError) Error() string {
	s := e.Dir + ": " + e.Reason
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap gives what the host said.
func (e *MountError) Unwrap() error { return e.Err }
