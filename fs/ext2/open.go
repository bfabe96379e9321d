package ext2

import (
	"context"
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Open opens the image or device at path, locks it (shared when o.ReadOnly, else
// exclusively, by flock), and opens the file system in the part of it that o chooses. A journal
// that needs it is replayed, also when o.ReadOnly, unless o.NoLoad. ctx counts until Open
// returns, see New; it ends the wait for the lock (o.LockWait), too.
//
// Beside the errors of New there are those of blockio.Open: ErrBusy, ErrNotImage and others. All
// name the image.
func Open(ctx context.Context, path string, o Options) (*FS, error) {
	fs, err := open(ctx, path, o)
	if !errors.Is(err, ErrReplayReadOnly) {
		return fs, err
	}
	if rerr := replayOnly(ctx, path, o); rerr != nil {
		if isEnd(ctx, rerr) {
			return nil, stopped(ctx, rerr, "opening the file system")
		}
		return nil, fmt.Errorf("%w (%w)", err, rerr)
	}
	return open(ctx, path, o)
}

// replayOnly replays the journal of an image that is opened read-only otherwise.
func replayOnly(ctx context.Context, path string, o Options) error {
	dev, err := blockio.Open(ctx, path, blockio.OpenOptions{Offset: o.Offset, SizeLimit: o.SizeLimit, Part: o.Part, Direct: o.Direct})
	if err != nil {
		return err
	}
	return errors.Join(newFS(dev, o).readSuperblock(ctx), dev.Close())
}

func open(ctx context.Context, path string, o Options) (*FS, error) {
	dev, err := blockio.Open(ctx, path, blockio.OpenOptions{
		ReadOnly: o.ReadOnly, Offset: o.Offset, SizeLimit: o.SizeLimit, Part: o.Part, Direct: o.Direct,
		LockWait: o.LockWait,
	})
	if err != nil {
		return nil, err
	}
	var trace *blockio.Trace
	if o.Trace != "" {
		if trace, err = blockio.TraceTo(dev, o.Trace); err != nil {
			dev.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		dev = trace
	}
	fs, err := New(ctx, dev, o)
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if trace != nil {
		trace.SetBlockSize(fs.blockSize)
	}
	return fs, nil
}
