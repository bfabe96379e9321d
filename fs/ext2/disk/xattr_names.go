package disk

import (
	"math/bits"
	"strings"
)

// Name indexes of extended attributes. The ACLs have names of their own and no more.
const (
	XattrUser       = 1
	XattrACLAccess  = 2
	XattrACLDefault = 3
	XattrTrusted    = 4
	XattrLustre     = 5
	XattrSecurity   = 6
	XattrSystem     = 7
)

// xattrPrefixes are the prefixes that names are given for their index. What is not
// listed is not shown and cannot be set, as with the kernel.
var xattrPrefixes = [...]struct {
	index  uint8
	prefix string
	whole  bool // the prefix is the whole name
}{
	{XattrUser, "user.", false},
	{XattrACLAccess, "system.posix_acl_access", true},
	{XattrACLDefault, "system.posix_acl_default", true},
	{XattrTrusted, "trusted.", false},
	{XattrSecurity, "security.", false},
}

// XattrFullName is the name users see of an attribute. ok is false for an index that
// has none.
func XattrFullName(index uint8, name string) (full string, ok bool) {
	for _, p := range xattrPrefixes {
		if p.index == index {
			return p.prefix + name, p.whole == (name == "")
		}
	}
	return "", false
}

// XattrSplitName takes a name as users see it apart. ok is false when it has no known
// prefix, or nothing behind it.
func XattrSplitName(full string) (index uint8, name string, ok bool) {
	for _, p := range xattrPrefixes {
		if rest, found := strings.CutPrefix(full, p.prefix); found && p.whole == (rest == "") {
			return p.index, rest, true
		}
	}
	return 0, "", false
}

// XattrEntryHash is the hash of an attribute (e_hash), as Linux since 6.2 and e2fsprogs
// write it: bytes of the name count as unsigned.
func XattrEntryHash(name string, value []byte) uint32 { return xattrHash(name, value, false) }

// XattrEntryHashSigned is the hash that Linux before 6.2 wrote on machines where C's
// char is signed, x86 among them. It differs only for names with bytes above 127.
func XattrEntryHashSigned(name string, value []byte) uint32 { return xattrHash(name, value, true) }

func xattrHash(name string, value []byte, signed bool) uint32 {
	h := uint32(0)
	for i := range len(name) {
		h = bits.RotateLeft32(h, 5) ^ widen(name[i], signed)
	}
	for ; len(value) > 0; value = value[min(4, len(value)):] {
		var word [4]byte
		copy(word[:], value)
		h = bits.RotateLeft32(h, 16) ^ le.Uint32(word[:])
	}
	return h
}

// XattrBlockHash is the hash of an attribute block (h_hash), from the entries' Hash in
// the order of the block. It is 0, a block not to be shared, when one of them is.
func XattrBlockHash(entries []XattrEntry) uint32 {
	h := uint32(0)
	for _, e := range entries {
		if e.Hash == 0 {
			return 0
		}
		h = bits.RotateLeft32(h, 16) ^ e.Hash
	}
	return h
}
