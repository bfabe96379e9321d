//go:build !freebsd

package ext2

import "syscall"

// noAttr is how the system says that there is no such extended attribute.
const noAttr = syscall.ENODATA
