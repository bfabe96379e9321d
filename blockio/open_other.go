//go:build !linux

package blockio

import (
	"fmt"
	"runtime"
)

// Open fails: only Linux has a device implementation.
func Open(path string, o OpenOptions) (Device, error) {
	return nil, fmt.Errorf("cannot open %s: image access is %w (%s)", path, ErrUnsupported, runtime.GOOS)
}
