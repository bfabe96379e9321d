module github.com/ext2fuse/ext2fuse

go 1.25.0

require (
	github.com/diskfs/go-diskfs v1.9.4
	github.com/moby/sys/mountinfo v0.7.2
	golang.org/x/sys v0.46.0
)

require github.com/google/uuid v1.6.0 // indirect
