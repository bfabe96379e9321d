//go:build !linux

package blockio

import (
	"context"
	"fmt"
	"runtime"
)

// Open fails: only Linux has a device implementation.
func Open(ctx context.Context, path string, o OpenOptions) (Device, error) {
	return nil, fmt.Errorf("cannot open %s: image access is %w (%s)", path, ErrUnsupported, runtime.GOOS)
}
