//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"io"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What the types of this package are, checked by the compiler.
var (
	_ fuse.RawFileSystem = (*Adapter)(nil)
	_ io.Closer          = (*Server)(nil)
	_ error              = (*MountError)(nil)
)
