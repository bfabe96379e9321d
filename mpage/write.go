package mpage

import "github.com/ext2fuse/ext2fuse/blockio"

// Write writes src at file offset off (bytes) of a file that has size bytes afterwards,
// and returns how many bytes are on the device.
func (e *Engine) Write(m Mapper, src []byte, off, size int64) (n int, err error) {
	bs := e.blockSize
	plug := blockio.NewPlug(e.dev)
	defer plug.Release()
	zeros := make([]byte, bs)
	type piece struct {
		bio *blockio.Bio
		end int
	}
	var pieces []piece
	mapped := 0
	for mapped < len(src) {
		at := off + int64(mapped)
		b := uint64(at / bs)
		last := uint64((off+int64(len(src))-1)/bs) + 1
		var run Run
		if run, err = m.GetBlock(b, last-b, true); err != nil {
			break
		}
		head := at - int64(b)*bs
		bytes := min(int64(run.Count)*bs-head, int64(len(src)-mapped))
		bio := &blockio.Bio{Op: blockio.Write, For: blockio.Data, Off: int64(run.Block)*bs + head, Vecs: [][]byte{src[mapped : mapped+int(bytes)]}}
		if run.Flags&Allocated != 0 {
			if head > 0 {
				bio.Off -= head
				bio.Vecs = [][]byte{zeros[:head], bio.Vecs[0]}
			}
			if tail := (head + bytes) % bs; tail > 0 {
				bio.Vecs = append(bio.Vecs, zeros[:bs-tail])
			}
		}
		mapped += int(bytes)
		pieces = append(pieces, piece{bio, mapped})
		plug.Add(bio)
	}
	plug.Flush()
	for _, p := range pieces {
		if p.bio.Err != nil {
			return n, p.bio.Err
		}
		n = p.end
	}
	return n, err
}
