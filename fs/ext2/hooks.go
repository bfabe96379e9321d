package ext2

import "github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"

func init() {
	testhook.Set = func(o any, h testhook.Hooks) { o.(*Options).testing = h }
	testhook.Quiesce = func(fs any) {
		if k := fs.(*FS).ckpt; k != nil {
			k.Quiesce()
		}
	}
}
