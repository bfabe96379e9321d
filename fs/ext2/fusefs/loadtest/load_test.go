//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// pick is a size for `go test` and one for the soak.
func pick(short, soak string) string {
	if *long {
		return soak
	}
	return short
}

// fio writes a file in many ways and verifies every block.
func TestFio(t *testing.T) {
	need(t, "fio")
	bothModes(t, func(t *testing.T, word string) {
		m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 2 << 30}, word)
		size := pick("2m", "96m")
		for _, job := range [][]string{
			{"--name=seq", "--rw=write", "--bs=128k"},
			{"--name=seq-direct", "--rw=write", "--bs=256k", "--direct=1"},
			{"--name=odd", "--rw=write", "--bs=5000", "--bs_unaligned=1", "--verify_interval=5000"},
			{"--name=rand", "--rw=randwrite", "--bs=4k"},
			{"--name=rand-direct", "--rw=randwrite", "--bs=4k", "--direct=1"},
			{"--name=rand-small", "--rw=randwrite", "--bs=1k", "--fsync=64"},
			{"--name=rw-jobs", "--rw=randrw", "--bs=8k", "--numjobs=3"},
			{"--name=mmap", "--rw=randwrite", "--bs=4k", "--ioengine=mmap"},
			{"--name=mmap-seq", "--rw=write", "--bs=64k", "--ioengine=mmap"},
			{"--name=aio", "--rw=randwrite", "--bs=16k", "--ioengine=libaio", "--direct=1", "--iodepth=16"},
			{"--name=appendsync", "--rw=write", "--bs=16k", "--sync=1", "--size=1m"},
		} {
			run(t, "", "fio", append([]string{"--directory=" + m.dir, "--size=" + size, "--ioengine=psync",
				"--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1", "--group_reporting"}, job...)...)
		}
	})
}

// stressors of stress-ng's class filesystem, each with --verify, and one more. Left out are
// those that work elsewhere, whatever they are told: bind-mount, binderfs, fanotify, procfs, and
// io, which syncs every file system of the machine, also the failing ones of other tests.
var stressors = strings.Fields(`access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup eventfd fallocate
	fcntl file-ioctl fiemap filename flock fpunch fsize fstat getdent handle hdd inode-flags inotify iomix ioprio lease link locka lockf lockofd
	metamix mknod open rename seek symlink sync-file touch unlink utime verity xattr`)

// An error of any stressor makes stress-ng fail; of one that could not work it only tells.
func TestStressNG(t *testing.T) {
	need(t, "stress-ng")
	known := run(t, "", "stress-ng", "--stressors")
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 1 << 30})
	most := int64(0)
	for _, s := range stressors {
		if !strings.Contains(" "+strings.TrimSpace(known)+" ", " "+s+" ") {
			continue // an older stress-ng
		}
		args := []string{"--temp-path", m.dir, "--" + s, "2", "--timeout", pick("1s", "8s"), "--" + s + "-ops", pick("200", "20000"), "--verify", "--oomable"}
		if s == "iomix" {
			args = append(args, "--iomix-bytes", "32m") // 1 GiB, the default, is more than there is
		}
		if out, err := quiet("stress-ng", args...); err != nil || strings.Contains(out, "aborted early") {
			t.Errorf("stress-ng %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if p := m.process(); p.ResidentMost > most {
			most = p.ResidentMost
			t.Logf("%s: %d KiB resident at most, %d live", s, most>>10, p.Live>>10)
		}
	}
	m.small("all stressors")
}

// A database that is written in transactions small and large, in both journal modes.
func TestSQLite(t *testing.T) {
	need(t, "sqlite3")
	bothModes(t, func(t *testing.T, word string) {
		m := newMount(t, ext2test.Options{BlockSize: 4096}, word)
		for _, mode := range []string{"delete", "wal", "truncate"} {
			db := m.path(mode + ".db")
			n := pick("2000", "60000")
			run(t, "", "sqlite3", db, fmt.Sprintf(`PRAGMA journal_mode=%s; PRAGMA mmap_size=67108864;
				CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v BLOB); CREATE INDEX k ON t(k);
				WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<%s)
				INSERT INTO t SELECT i, hex(randomblob(8)), randomblob(i%%900) FROM c;
				UPDATE t SET v=randomblob(500) WHERE id%%3=0; DELETE FROM t WHERE id%%7=0; VACUUM;`, mode, n))
			for i := range 20 {
				run(t, "", "sqlite3", db, fmt.Sprintf("INSERT INTO t(k,v) VALUES('one-%d', randomblob(3000));", i))
			}
			out := run(t, "", "sqlite3", db, "PRAGMA integrity_check; SELECT count(*) FROM t WHERE k LIKE 'one-%';")
			if out != "ok\n20\n" {
				t.Errorf("%s: %s", mode, out)
			}
		}
		m.finish()
		m.mount()
		if out := run(t, "", "sqlite3", m.path("wal.db"), "PRAGMA integrity_check;"); out != "ok\n" {
			t.Errorf("mounted again: %s", out)
		}
	})
}

func TestGit(t *testing.T) {
	need(t, "git")
	bothModes(t, func(t *testing.T, word string) {
		m := newMount(t, ext2test.Options{BlockSize: 4096}, word)
		work := m.path("work")
		t.Setenv("HOME", m.dir)
		t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
		git := func(args ...string) string {
			return run(t, work, "git", append([]string{"-c", "user.name=n", "-c", "user.email=e@x"}, args...)...)
		}
		run(t, "", "git", "init", "-q", "-b", "main", work)
		sourceTree(t, filepath.Join(work, "src"))
		git("add", ".")
		git("commit", "-q", "-m", "one")
		if err := os.WriteFile(filepath.Join(work, "a"), []byte("b"), 0o755); err != nil {
			t.Fatal(err)
		}
		git("checkout", "-q", "-b", "side")
		git("add", "-A")
		git("commit", "-q", "-m", "two")
		git("checkout", "-q", "main")
		git("merge", "-q", "side")
		git("gc", "-q")
		run(t, "", "git", "clone", "-q", work, m.path("clone"))
		run(t, "", "git", "clone", "-q", "--no-local", work, m.path("far"))
		for _, dir := range []string{work, m.path("clone"), m.path("far")} {
			run(t, dir, "git", "fsck", "--full", "--strict")
			if out := run(t, dir, "git", "status", "--porcelain"); out != "" {
				t.Errorf("%s is not clean: %s", dir, out)
			}
		}
	})
}

// sourceTree copies a part of Go's library, some hundred files.
func sourceTree(t *testing.T, to string) {
	t.Helper()
	root := strings.TrimSpace(run(t, "", "go", "env", "GOROOT"))
	run(t, "", "cp", "-a", filepath.Join(root, "src", pick("encoding", "net")), to)
}

// The Go toolchain builds a module inside the mount; in the soak its cache is there as well.
func TestGoBuild(t *testing.T) {
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 1 << 30})
	if *long { // or else the cache that there is, which has the standard library
		t.Setenv("GOCACHE", m.path("cache"))
	}
	t.Setenv("GOTMPDIR", m.dir)
	t.Setenv("GOFLAGS", "-buildvcs=false")
	mod := m.path("mod")
	for name, text := range map[string]string{
		"go.mod":    "module example.com/hello\n\ngo 1.25\n",
		"main.go":   "package main\n\nimport \"os\"\n\nfunc hello() string { return \"hello\\n\" }\n\nfunc main() { os.Stdout.WriteString(hello()) }\n",
		"a_test.go": "package main\n\nimport \"testing\"\n\nfunc TestHello(t *testing.T) {\n\tif hello() != \"hello\\n\" {\n\t\tt.Fail()\n\t}\n}\n",
	} {
		if err := os.MkdirAll(mod, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mod, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, mod, "go", "build", "-o", "hello", ".")
	if out := run(t, mod, "./hello"); out != "hello\n" {
		t.Errorf("the program says %q", out)
	}
	if *long {
		run(t, mod, "go", "test", ".")
	}
}

// tar brings a populated tree in and out, and both are the same.
func TestTar(t *testing.T) {
	need(t, "tar")
	bothModes(t, func(t *testing.T, word string) {
		src := t.TempDir()
		sourceTree(t, filepath.Join(src, "src"))
		m := newMount(t, ext2test.Options{BlockSize: 4096}, word)
		tarball := filepath.Join(src, "in.tar")
		run(t, src, "tar", "-cf", tarball, "src")
		run(t, m.dir, "tar", "-xpf", tarball)
		run(t, m.dir, "tar", "-df", tarball)
		run(t, m.dir, "tar", "-cf", "out.tar", "src")
		run(t, src, "tar", "-df", m.path("out.tar"))
		run(t, "", "diff", "-r", filepath.Join(src, "src"), m.path("src"))
		m.finish()
		m.mount(word)
		run(t, m.dir, "tar", "-df", tarball)
	})
}

// What cp -a copies, the kernel finds in the image as ext2fuse shows it; and what the
// kernel changes then, ext2fuse reads, and changes again.
func TestBackAndForth(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			src := ext2test.KernelMount(t, ext2test.Make(t, ext2test.Options{BlockSize: bs, Size: 64 << 20}))
			src = filepath.Join(src, "tree")
			if err := os.Mkdir(src, 0o755); err != nil {
				t.Fatal(err)
			}
			ext2test.Populate(t, src, bs)
			m := newMount(t, ext2test.Options{BlockSize: bs, Size: 128 << 20})
			run(t, "", "cp", "-a", src, m.path("copy"))
			compareDirs(t, m.path("copy"), src)
			m.finish()
			compareImage(t, m.img)

			kernel := ext2test.KernelMount(t, m.img)
			run(t, "", "cp", "-a", src, filepath.Join(kernel, "kernel"))
			run(t, "", "rm", "-rf", filepath.Join(kernel, "copy", "names"))
			sourceTree(t, filepath.Join(kernel, "src"))
			ext2test.Unmount(t, kernel)
			compareImage(t, m.img)

			m.mount()
			compareDirs(t, m.path("kernel"), src)
			run(t, "", "rm", "-rf", m.path("kernel"))
			run(t, "", "cp", "-a", src, m.path("again"))
			m.finish()
			compareImage(t, m.img)
		})
	}
}

// compareDirs compares all but what a copy has of its own; the content tells a file's size.
func compareDirs(t *testing.T, a, b string) {
	t.Helper()
	run(t, "", compareBin, "-ignore", "d_ino,ino,blocks,blksize,atime,ctime,btime,version,flags,list,size,holes,statfs", "-dirs", a, b)
}

// compareImage holds the kernel's driver and ext2fuse, both read-only, to the image.
func compareImage(t *testing.T, img string) {
	t.Helper()
	out := run(t, "", compareBin, "-ext2fuse", bin, img)
	if !regexp.MustCompile(`(?m)^mount-compare: `).MatchString(out) {
		t.Errorf("mount-compare says %q", out)
	}
}
