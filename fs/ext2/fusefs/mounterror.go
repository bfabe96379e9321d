package fusefs

// MountError tells why a file system could not be mounted or unmounted, and what to
// do.
type MountError struct {
	Dir    string // the mount point
	Reason string
	Err    error // what the host said; may be nil
}

// Error says it in one line.
func (e *MountError) Error() string { return e.Dir + ": " + e.Reason }

// Unwrap gives what the host said.
func (e *MountError) Unwrap() error { return e.Err }
