package ext2

import (
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Open opens the image or device at path, locks it (shared when o.ReadOnly, else
// exclusively), and opens the file system in the part of it that o chooses. A journal
// that needs it is replayed, also when o.ReadOnly, unless o.NoLoad.
func Open(path string, o Options) (*FS, error) {
	fs, err := open(path, o)
	if !errors.Is(err, errReplayReadOnly) {
		return fs, err
	}
	if rerr := replayOnly(path, o); rerr != nil {
		return nil, fmt.Errorf("%w (%w)", err, rerr)
	}
	return open(path, o)
}

// replayOnly replays the journal of an image that is opened read-only otherwise.
func replayOnly(path string, o Options) error {
	dev, err := blockio.Open(path, blockio.OpenOptions{Offset: o.Offset, SizeLimit: o.SizeLimit, Part: o.Part, Direct: o.Direct})
	if err != nil {
		return err
	}
	return errors.Join(newFS(dev, o).readSuperblock(), dev.Close())
}

func open(path string, o Options) (*FS, error) {
	dev, err := blockio.Open(path, blockio.OpenOptions{
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
			return nil, err
		}
		dev = trace
	}
	fs, err := New(dev, o)
	if err != nil {
		dev.Close()
		return nil, err
	}
	if trace != nil {
		trace.SetBlockSize(fs.blockSize)
	}
	return fs, nil
}
