module github.com/ext2fuse/ext2fuse

go 1.25.0
