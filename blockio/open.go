package blockio

import "time"

// OpenOptions say how Open opens an image or device.
type OpenOptions struct {
	ReadOnly bool // refuse writes, and share the image with others that only read

	// The part of the image to show, in bytes or as a partition. Offset and Part
	// exclude each other; SizeLimit bounds either.
	Offset    int64
	SizeLimit int64 // 0: to the end
	Part      int   // partition number as in the partition table, from 1 on; 0: none

	Direct bool // go past the host's cache (O_DIRECT)

	// LockWait is how long to wait for another holder of the lock to let go; of a block
	// device, which udev locks for a moment after a change, half a second at least.
	LockWait time.Duration
}
