package ext2

import "syscall"

const noAttr = syscall.ENOATTR
