package blockio

// Bytes is the length of the bio's range.
func (b *Bio) Bytes() int64 {
	switch b.Op {
	case Sync:
		return 0
	case Discard:
		return b.Len
	}
	var n int64
	for _, v := range b.Vecs {
		n += int64(len(v))
	}
	return n
}

// Begin is where a Device starts on a bio: it clears the results of an earlier use
// and checks the bio against a device of size bytes. It returns the memory and the
// number of bytes to transfer, already clipped; the clipped tail of a read is
// zeroed. With n = 0 and no error there is nothing to transfer (a zero-length bio,
// or one clipped away) and the bio just has to be completed; a Sync is always so.
func (b *Bio) Begin(size int64, readOnly bool) (vecs [][]byte, n int64, err error) {
	b.N, b.Err, b.Cold = 0, nil, false
	if b.Op == Sync {
		return nil, 0, nil
	}
	if readOnly && b.Op != Read {
		return nil, 0, ErrReadOnly
	}
	vecs, n = b.Vecs, b.Bytes()
	if b.Off < 0 || n < 0 {
		return nil, 0, ErrPastEnd
	}
	room := max(0, size-b.Off)
	if n <= room && b.Off <= size {
		return vecs, n, nil
	}
	if !b.Clip {
		return nil, 0, ErrPastEnd
	}
	if b.Op == Read {
		zeroFrom(vecs, room)
	}
	if b.Op != Discard {
		vecs = clipVecs(vecs, room)
	}
	return vecs, room, nil
}

// Complete ends the bio: it records the result and calls Done. A Device calls it
// exactly once for each bio submitted.
func (b *Bio) Complete(n int64, err error) {
	b.N, b.Err = n, err
	if b.Done != nil {
		b.Done(b)
	}
}

// clipVecs returns the first n bytes of vecs, sharing the memory, not the slice.
func clipVecs(vecs [][]byte, n int64) [][]byte {
	var out [][]byte
	for _, v := range vecs {
		if n == 0 {
			break
		}
		if int64(len(v)) > n {
			v = v[:n]
		}
		out = append(out, v)
		n -= int64(len(v))
	}
	return out
}

// zeroFrom zeroes vecs from byte n on.
func zeroFrom(vecs [][]byte, n int64) {
	for _, v := range vecs {
		if int64(len(v)) <= n {
			n -= int64(len(v))
			continue
		}
		clear(v[n:])
		n = 0
	}
}

// vecBytes is the length of vecs in bytes.
func vecBytes(vecs [][]byte) int64 {
	var n int64
	for _, v := range vecs {
		n += int64(len(v))
	}
	return n
}
