//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"
	"log/slog"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Killed is killed.
var Killed = killed

// Panicking sends a request that makes its handler panic through the same path as the
// kernel's, and gives the answer's status.
func Panicking(log *slog.Logger) func() fuse.Status {
	proto := fuse.NewProtocolServer(&Adapter{RawFileSystem: fuse.NewDefaultRawFileSystem()}, serverOptions(&Options{Logger: log}, true))
	return func() fuse.Status {
		in, out := make([]byte, headerSize), make([]byte, structSpace)
		binary.NativeEndian.PutUint32(in, headerSize)
		binary.NativeEndian.PutUint32(in[4:], opStatFs) // there is no file system to ask
		binary.NativeEndian.PutUint64(in[16:], fuse.FUSE_ROOT_ID)
		proto.HandleRequest([][]byte{in}, [][]byte{out})
		return fuse.Status(-int32(binary.NativeEndian.Uint32(out[4:])))
	}
}
