package disk

import (
	"bytes"
	"strings"
)

// SniffBytes is how much of the beginning of an image Sniff can use.
const SniffBytes = 68 << 10

// Guess is what an image that has no ext2 superblock at its place seems to be.
type Guess struct {
	Name        string // "a gzip-compressed file"; empty when nothing is known
	Partitioned bool   // a disk whose partition table says where file systems are
	advice      string // with IMAGE for the image's name
}

// Advice says what to do with an image so called: "decompress it first: gunzip disk.img.gz".
// It is empty where nothing is known, and for a disk with partitions, of which the caller
// knows how one is chosen.
func (g Guess) Advice(image string) string { return strings.ReplaceAll(g.advice, "IMAGE", image) }

const (
	convert    = "convert it first: qemu-img convert -O raw IMAGE IMAGE.raw"
	other      = "mount or unpack it with what is made for that"
	partitions = "" // see Guess.Advice
)

// signatures are the marks of what people take for an ext2 image, most telling first.
var signatures = []struct {
	off    int
	magic  string
	name   string
	advice string
}{
	{0, "\x1f\x8b", "a gzip-compressed file", "decompress it first: gunzip IMAGE"},
	{0, "\xfd7zXZ\x00", "an xz-compressed file", "decompress it first: unxz IMAGE"},
	{0, "BZh", "a bzip2-compressed file", "decompress it first: bunzip2 IMAGE"},
	{0, "\x28\xb5\x2f\xfd", "a zstd-compressed file", "decompress it first: unzstd IMAGE"},
	{0, "\x04\x22\x4d\x18", "an lz4-compressed file", "decompress it first: unlz4 IMAGE"},
	{0, "PK\x03\x04", "a zip archive", other},
	{0, "7z\xbc\xaf\x27\x1c", "a 7-zip archive", other},
	{0, "!<arch>\n", "an ar archive or Debian package", other},
	{0, "\x7fELF", "an ELF executable", other},
	{0, "QFI\xfb", "a qcow2 image", convert},
	{0, "KDMV", "a VMware disk image", convert},
	{0, "# Disk DescriptorFile", "a VMware disk descriptor", convert},
	{0, "conectix", "a VHD disk image", convert},
	{0, "vhdxfile", "a VHDX disk image", convert},
	{64, "\x7f\x10\xda\xbe", "a VirtualBox disk image", convert},
	{0, "\x3a\xff\x26\xed", "an Android sparse image", "convert it first: simg2img IMAGE IMAGE.raw"},
	{0, "hsqs", "a squashfs file system", other},
	{0, "sqsh", "a squashfs file system", other},
	{0, "XFSB", "an XFS file system", other},
	{0, "LUKS\xba\xbe", "an encrypted LUKS volume", "open it first: cryptsetup open IMAGE NAME"},
	{0, "\x45\x3d\xcd\x28", "a cramfs file system", other},
	{0, "-rom1fs-", "a romfs file system", other},
	{3, "NTFS    ", "an NTFS file system", other},
	{3, "EXFAT   ", "an exFAT file system", other},
	{3, "-FVE-FS-", "an encrypted BitLocker volume", other},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system", other},
	{1024, "\xe2\xe1\xf5\xe0", "an EROFS file system", other},
	{1024, "H+", "an HFS+ file system", other},
	{1024, "HX", "an HFS+ file system", other},
	{1024 + 16, "\x7f\x13", "a Minix file system", other},
	{1024 + 16, "\x8f\x13", "a Minix file system", other},
	{1024 + 16, "\x68\x24", "a Minix file system", other},
	{32, "NXSB", "an APFS container", other},
	{4086, "SWAPSPACE2", "Linux swap space", other},
	{32769, "CD001", "an ISO 9660 image", other},
	{65536 + 52, "ReIsEr", "a ReiserFS file system", other},
	{65536 + 64, "_BHRfS_M", "a btrfs file system", other},
	{512, "LABELONE", "an LVM physical volume", "mount one of its logical volumes: vgchange -ay"},
	{512, "EFI PART", "a disk with a GPT partition table", partitions},
	{4096, "EFI PART", "a disk with a GPT partition table", partitions},
	{257, "ustar", "a tar archive", other},
	{54, "FAT1", "a FAT file system", other},
	{82, "FAT32", "a FAT file system", other},
}

// Sniff says what an image that has no ext2 superblock at its place seems to be. b is the
// image's beginning, best SniffBytes of it.
func Sniff(b []byte) Guess {
	for _, s := range signatures {
		if s.off+len(s.magic) <= len(b) && string(b[s.off:s.off+len(s.magic)]) == s.magic {
			return Guess{s.name, s.advice == partitions, s.advice}
		}
	}
	switch {
	case hasPartitions(b):
		return Guess{"a disk with an MBR partition table", true, partitions}
	case len(b) == 0:
		return Guess{Name: "an empty file", advice: other}
	case len(b) < SuperblockOffset+SuperblockSize:
		return Guess{Name: "a file too short for a file system", advice: other}
	case len(bytes.TrimLeft(b, "\x00")) == 0:
		return Guess{Name: "nothing: it begins with zeros only", advice: "make a file system first: mke2fs IMAGE"}
	}
	return Guess{}
}

// hasPartitions tells whether b begins with a partition table in the master boot
// record: the signature, and four entries that are either empty or plausible, one of
// them at least in use.
func hasPartitions(b []byte) bool {
	const table, entry = 446, 16
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xAA {
		return false
	}
	used := 0
	for i := range 4 {
		e := b[table+i*entry:][:entry]
		if e[0] != 0 && e[0] != 0x80 { // the boot flag
			return false
		}
		kind, start, sectors := e[4], le.Uint32(e[8:]), le.Uint32(e[12:])
		if kind == 0 {
			continue
		}
		if start == 0 || sectors == 0 {
			return false
		}
		used++
	}
	return used > 0
}
