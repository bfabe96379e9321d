package ext2

import "github.com/ext2fuse/ext2fuse/blockio"

// Open opens the image or device at path, locks it (shared when o.ReadOnly, else
// exclusively), and opens the file system in the part of it that o chooses.
func Open(path string, o Options) (*FS, error) {
	dev, err := blockio.Open(path, blockio.OpenOptions{
		ReadOnly: o.ReadOnly, Offset: o.Offset, SizeLimit: o.SizeLimit, Part: o.Part, Direct: o.Direct,
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
