//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// run does what the arguments ask and gives the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		// An image that is called like a verb is ./NAME.
		if v := findVerb(args[0]); v != nil {
			return v.main(args[1:], stdout, stderr)
		}
	}
	return mount(args, stdout, stderr)
}

// mount mounts, or tells about mounting, as the arguments ask.
func mount(args []string, stdout, stderr io.Writer) int {
	c, err := parseCommandLine(args)
	switch {
	case err != nil:
		say(stderr, "%v%s", err, seeHelp("ext2fuse", err))
		return exitUsage
	case c.help:
		return show(stdout, helpText())
	case c.words:
		return show(stdout, wordHelp())
	case c.version:
		return show(stdout, versionText())
	}
	if err := c.check(stderr); err != nil {
		say(stderr, "%v%s", err, c.hint(c.image, err))
		return exitMount
	}
	parent, err := parentOfDaemon()
	if err != nil {
		say(stderr, "%v", err)
		return exitSystem
	}
	if !c.foreground && parent == nil {
		return background(args, stderr)
	}
	return serve(c, parent, stderr)
}

// say prints a message, one line, of which nothing reaches a terminal as a command. There is
// nobody to tell when that fails.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, "ext2fuse: %s\n", safe(fmt.Sprintf(format, args...)))
}

// show prints what was asked for.
func show(w io.Writer, text string) int {
	if _, err := io.WriteString(w, text); err != nil {
		return exitSystem
	}
	return exitOK
}

// check refuses what is known beforehand not to work.
func (c *config) check(stderr io.Writer) error {
	switch {
	case c.mount.owners.fakeRoot && c.mount.allowOther:
		return errors.New("fakeroot and allow_other: permissions are not checked, so nobody else can be let in; leave one of them out")
	case c.mount.noOthers && os.Geteuid() != 0:
		return errors.New("allow_root: only root can use it, as the kernel knows allow_other alone; leave it out")
	}
	if n, err := fusefs.RemoveDead(c.dir, c.mount.subtype); err != nil {
		return err
	} else if n > 0 {
		say(stderr, "%s: removed the mount of a daemon that is gone", c.dir)
	}
	_, err := fusefs.CheckMountPoint(c.dir)
	return err
}

// finishWait is how long a daemon may take to end whose image is not mounted any more.
const finishWait = 5 * time.Second

// serve opens the image, mounts it, tells parent (if there is one) and stays until it
// is unmounted.
func serve(c *config, parent *statusPipe, stderr io.Writer) int {
	logs := newLogSink(stderr, "ext2fuse: "+c.image+": ")
	logs.shared.level.Set(c.level)
	logger := slog.New(logs)
	c.fs.Logger = logger
	c.writeOptions()
	if os.Getenv("GOGC") == "" {
		// What the kernel holds of inodes is most of the memory, and lives long: the room
		// that the collector leaves between two of its rounds need not be as large again.
		debug.SetGCPercent(50)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1)

	if !fusefs.Serves(c.image, c.mount.subtype) {
		// Just unmounted perhaps: umount(2) does not wait for the daemon.
		c.fs.LockWait = finishWait
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	fs, err := ext2.Open(ctx, c.image, c.fs)
	stop()
	if errors.Is(err, context.Canceled) {
		say(stderr, "%s: interrupted, and not mounted; what was begun is left to the next mount", c.image)
		return exitInterrupt
	}
	if err != nil {
		say(stderr, "%s", c.oneLine(c.image, err))
		return exitMount
	}
	if c.mount.describe {
		describe(logger, fs)
	}
	options := c.mountOptions(logger)
	options.Finish = func() { closeImage(fs, logger) }
	server, err := fusefs.Mount(fs, c.dir, options)
	if err != nil {
		_ = fs.Close()
		say(stderr, "%v%s", err, c.hint(c.image, err))
		return exitMount
	}
	interrupted := false
	if parent != nil {
		logs.detach()
		if err := parent.serving(); err != nil {
			// Nobody waits any more: the parent was interrupted.
			interrupted = true
			_ = server.Detach()
		}
	}
	if !attend(server, fs, signals, logger, parent != nil) {
		logger.Error("stopped, as damage was found, or a structure cannot be read (errors=panic); run e2fsck", "damage", fs.Failure())
		_ = server.Detach()
		return exitSystem // whoever still uses the mount gets ENOTCONN
	}
	if interrupted {
		return exitInterrupt
	}
	return exitOK
}

// closeImage closes the image once the file system is unmounted. Where it failed (errors=panic)
// the image stays as it is.
func closeImage(fs *ext2.FS, logger *slog.Logger) {
	select {
	case <-fs.Failed():
		return
	default:
	}
	if err := fs.Close(); err != nil {
		logger.Error("closing the image failed", "error", err)
	}
}

// writeOptions hands the words that concern writing to the file system.
func (c *config) writeOptions() {
	w := &c.mount.writePolicy
	if dir, err := filepath.Abs(c.dir); err == nil {
		c.fs.MountPoint = dir
	}
	c.fs.GrpID, c.fs.Discard, c.fs.NoBarrier, c.fs.Commit = w.groupID, w.discard, w.noBarrier, w.commit
	c.fs.OldAlloc, c.fs.NoReservation = w.oldAlloc, w.noReservation
	c.fs.Sync = c.mount.flags&unix.MS_SYNCHRONOUS != 0
	c.fs.DirSync = c.mount.flags&unix.MS_DIRSYNC != 0
	c.fs.NoDirAtime = c.mount.flags&unix.MS_NODIRATIME != 0
	for _, id := range []struct {
		from int64
		to   **uint32
	}{{w.resUID, &c.fs.ResUID}, {w.resGID, &c.fs.ResGID}} {
		if id.from >= 0 {
			v := uint32(id.from)
			*id.to = &v
		}
	}
	switch {
	case c.mount.flags&unix.MS_NOATIME != 0:
		c.fs.Atime = ext2.NoAtime
	case c.mount.flags&unix.MS_STRICTATIME != 0:
		c.fs.Atime = ext2.StrictAtime
	}
}

// mountOptions translates the words of the command line. Root gets what a mount of
// the kernel's driver would be.
func (c *config) mountOptions(logger *slog.Logger) fusefs.Options {
	o := fusefs.Options{
		Source:     c.image,
		Subtype:    c.mount.subtype,
		AllowOther: c.mount.allowOther || os.Geteuid() == 0 && !c.mount.noOthers,
		NoACL:      c.fs.NoACL,
		WriteBack:  c.mount.writeBack,
		Flags:      c.mount.flags,
		MaxRead:    int(min(c.mount.maxRead, 1<<30)),
		ReadAhead:  c.mount.readAhead,
		Logger:     logger,
	}
	c.mount.owners.apply(&o)
	if abs, err := filepath.Abs(c.image); err == nil {
		o.Source = abs // the same for whoever looks, wherever he is
	}
	if c.mount.fsname != "" {
		o.Source = c.mount.fsname
	}
	if c.level <= slog.LevelDebug {
		o.Messages = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	}
	return o
}

// attend waits for the end of the mount and returns true, or false when the file system
// failed. Signals ask for it. SIGHUP ends a mount in the foreground only, where it means
// that the terminal is gone.
func attend(server *fusefs.Server, fs *ext2.FS, signals <-chan os.Signal, logger *slog.Logger, daemon bool) bool {
	asked := 0
	for {
		select {
		case <-server.Done():
			return true
		case <-fs.Failed():
			return false
		case s := <-signals:
			if s == unix.SIGUSR1 {
				logStats(logger, server.Stats())
				continue
			}
			if s == unix.SIGHUP && daemon {
				continue
			}
			asked++
			end(server, fs, s, asked > 1, logger)
		}
	}
}

// describe logs what kind of file system was mounted (the word debug).
func describe(logger *slog.Logger, fs *ext2.FS) {
	sb, s := fs.Superblock(), fs.Statfs()
	logger.Info("mounted", "block_size", s.BlockSize, "groups", sb.GroupCount(),
		"blocks_per_group", sb.BlocksPerGroup, "inodes_per_group", sb.InodesPerGroup, "inode_size", sb.InodeSize(),
		"blocks", sb.BlocksCount, "free_blocks", s.FreeBlocks, "inodes", s.Inodes, "free_inodes", s.FreeInodes)
}
