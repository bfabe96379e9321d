//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"log/slog"
	"runtime/debug"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

const (
	// maxRequest is the largest READ or WRITE, in bytes: what the kernel can do.
	maxRequest = 1 << 20
	// background is how many requests the kernel sends without waiting for their
	// answers, which is what read-ahead does.
	background = 64
)

// Server is a mounted file system.
type Server struct {
	conn   *conn
	fs     *ext2.FS
	dir    string // the mount point, absolute and without symbolic links
	helped bool   // mounted by fusermount3, which is to unmount, too
	minor  int    // of the mount's device number, 0:minor; 0 if not known
	done   chan struct{}
}

// Mount mounts fs on the directory dir and serves it until it is unmounted. The
// mount works when Mount returns. A *MountError tells what kept it from succeeding.
// The caller closes fs after Wait has returned, unless Options.Finish does.
//
// A program that serves a mount should not use it: a page fault there, and the
// epoll_ctl(2) of os.Open, keep a processor of the Go runtime that may be wanted to
// answer.
func Mount(fs *ext2.FS, dir string, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.MaxRead <= 0 || o.MaxRead > maxRequest {
		o.MaxRead = maxRequest
	}
	if o.Subtype == "" {
		o.Subtype = "ext2fuse"
	}
	m, err := attach(dir, &o, fs.ReadOnly())
	if err != nil {
		return nil, err
	}
	a := New(fs)
	a.writeback = o.WriteBack && a.writable
	a.owners = owners{o.UID, o.GID, o.FakeRoot}
	s := &Server{fs: fs, dir: m.dir, helped: m.helped, done: make(chan struct{})}
	s.conn = newConn(m.fd, a, fuse.NewProtocolServer(a, serverOptions(&o, fs.ReadOnly())), o.Logger)
	s.conn.messages = o.Messages
	a.stats = s.Stats
	if err := s.conn.init(); err != nil {
		_ = m.detach(true)
		_ = unix.Close(m.fd)
		return nil, &MountError{Dir: dir, Reason: "the kernel did not accept the connection: " + cause(err), Err: err}
	}
	s.conn.blind = !blockio.OnWait(fs.Device(), s.conn.relieve)
	fs.OnWait(s.conn.relieve)
	s.conn.writable = a.writable
	if a.writeback {
		a.flush = s.conn.flush
	}
	s.conn.start()
	var st unix.Statx_t
	// The attributes are not asked for, so this sends no message to ourselves.
	if unix.Statx(unix.AT_FDCWD, m.dir, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st) == nil {
		s.minor = int(st.Dev_minor)
	}
	go func() {
		<-s.conn.done
		s.conn.pipes.close()
		if o.Finish != nil {
			o.Finish()
		}
		_ = unix.Close(m.fd) // who looks for the connection knows that all is done: see Unmount
		close(s.done)
	}()
	if err := setReadAhead(m.dir, o.ReadAhead); err != nil {
		o.Logger.Warn("the kernel's read-ahead stays as it is", "mount", m.dir, "error", err)
	}
	return s, nil
}

// serverOptions are go-fuse's settings. What concerns mount(2) is not among them; see
// attach.
func serverOptions(o *Options, readOnly bool) *fuse.MountOptions {
	f := &fuse.MountOptions{
		Name:          "ext2fuse",
		MaxWrite:      maxRequest,
		MaxBackground: background,
		// The page cache is dropped by notify, never by guesses from times.
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,
		EnableAcl:                !o.NoACL && !o.FakeRoot, // it brings default_permissions
		ExtraCapabilities: fuse.CAP_NO_OPENDIR_SUPPORT | fuse.CAP_EXPORT_SUPPORT |
			fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ASYNC_DIO | fuse.CAP_IOCTL_DIR,
		PanicHandler: func(p any) fuse.Status {
			panicked(o.Logger, p)
			return fuse.EIO
		},
		DisabledCapabilities: fuse.CAP_PASSTHROUGH,
		Logger:               slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
	}
	if !readOnly {
		f.ExtraCapabilities |= fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_SETXATTR_EXT
		if o.WriteBack {
			f.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
		}
	}
	if o.Messages != nil {
		f.Debug, f.Logger = true, o.Messages
	}
	return f
}

// panicked notes that a request panicked. Whoever asked gets an error, the rest goes on.
func panicked(log *slog.Logger, p any) {
	log.Error("a request failed in a way that is a bug in ext2fuse", "panic", p, "stack", string(debug.Stack()))
}

// Wait returns when the file system is unmounted, the last request answered, and
// Options.Finish done.
func (s *Server) Wait() { <-s.done }

// Done is closed when Wait would return.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close unmounts the file system. It fails with EBUSY while somebody uses it; the
// mount then goes on serving.
func (s *Server) Close() error { return s.detach(false) }

// Detach takes the mount out of the tree at once. Those who use it may finish; Wait
// returns after the last one.
func (s *Server) Detach() error { return s.detach(true) }

// detach unmounts the mount wherever it is by now, and nothing else that may be mounted over
// it. It is none if the mount is gone already.
func (s *Server) detach(lazy bool) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil || s.minor == 0 {
		return detach(s.dir, s.helped, lazy)
	}
	at, top := "", 0
	for _, m := range mounts {
		if m.Major == 0 && m.Minor == s.minor {
			at = m.Mountpoint
		}
	}
	for _, m := range mounts {
		if m.Mountpoint == at {
			top = m.Minor
		}
	}
	switch {
	case at == "":
		return nil
	case top != s.minor:
		return &MountError{Dir: at, Reason: "something else is mounted over it", Err: unix.EBUSY}
	}
	return detach(at, s.helped, lazy)
}
