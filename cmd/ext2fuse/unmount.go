//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// umountVerb is also ext2fuse -u, and what umount(8) calls as its helper.
var umountVerb = verb{
	name: "umount", operands: "MOUNTPOINT…", least: 1, most: -1, plain: true,
	doc: "unmount. It returns when the image is complete and nobody holds it any more. ext2fuse -u is the same. " +
		"A file system in use is left alone. The image may be named instead of the mount point",
	flags: func(f *pflag.FlagSet) {
		f.BoolP("lazy", "l", false, "take the mount out of the tree at once; those who use it may finish. Does not wait")
		f.BoolP("force", "F", false, "cut off whoever uses it")
	},
	run: func(c *call) error {
		var errs []error
		for _, dir := range c.args {
			err := fusefs.Unmount(dir, fusefs.UnmountOptions{Lazy: c.set("lazy"), Force: c.set("force")})
			if err != nil {
				errs = append(errs, unmountError(err))
			}
		}
		return errors.Join(errs...)
	},
}

// unmountError tells what to do about what cannot be unmounted.
func unmountError(err error) error {
	var m *fusefs.MountError
	switch {
	case !errors.As(err, &m) || m.Advice != "":
		return err
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w; to see by whom: fuser -vm %s", err, shell.Quote(m.Dir))
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w; as one of these: ext2fuse -u %s", err, shell.Quote(m.Dir))
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w; \"findmnt -t fuse.ext2fuse\" lists what is mounted", err)
	}
	return err
}

// helperArgs translates what mount(8) and umount(8) call their helpers with, who are this
// program under the names mount.TYPE and umount.TYPE, to its own arguments. done tells
// that there is nothing to do, remount that what cannot be unmounted is to become read-only.
//
//	mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE] [-o WORDS] [-t TYPE]
//	umount.TYPE DIR [-nlfvr] [-N NAMESPACE] [-t TYPE]
func helperArgs(name string, args []string) (own []string, done, remount bool) {
	mount := strings.HasPrefix(name, "mount.")
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-o" && i+1 < len(args):
			i++
			own = append(own, a, args[i])
		case !shortFlags(a):
			own = append(own, a)
		default:
		word:
			for j, flag := range a[1:] {
				switch {
				case flag == 't' || flag == 'N': // the type is our name, and mount(8) is in the namespace already
					if j == len(a)-2 {
						i++ // the value is the next word, not the rest of this
					}
					break word
				case flag == 'f' && mount: // fake
					done = true
				case flag == 'f':
					own = append(own, "-F")
				case flag == 'r' && !mount:
					remount = true
				case strings.ContainsRune("snvr", flag):
				default:
					own = append(own, "-"+string(flag))
				}
			}
		}
	}
	if !mount {
		own = append([]string{"umount"}, own...)
	}
	return own, done, remount
}

// shortFlags tells an argument like -fv.
func shortFlags(a string) bool { return len(a) > 1 && a[0] == '-' && a[1] != '-' }

// runAs runs the program under the name it was called by.
func runAs(name string, args []string, stdout, stderr io.Writer) int {
	name = filepath.Base(name)
	switch {
	case name == "umount.fuse" && !ours(args):
		return umountItself(args, stderr)
	case strings.HasPrefix(name, "mount."):
		own, done, _ := helperArgs(name, args)
		if done {
			return exitOK
		}
		return mount(own, stdout, stderr) // never a verb: the source may be called like one
	case strings.HasPrefix(name, "umount."):
		own, _, remount := helperArgs(name, args)
		code := run(own, stdout, stderr)
		if code != exitOK && remount {
			say(stderr, "-r is not supported: the mount stays as it is")
		}
		if code == exitUsage {
			code = exitMount // as umount(8) has it
		}
		return code
	case len(args) > 0 && (args[0] == "-u" || args[0] == "--unmount"):
		args = append([]string{"umount"}, args[1:]...)
	}
	return run(args, stdout, stderr)
}

// ours tells whether umount.fuse, which umount(8) calls for every FUSE file system that it
// has not looked up in the mount table, was called for one of this program's.
func ours(args []string) bool {
	own, _, _ := helperArgs("umount.fuse", args)
	return len(own) > 1 && fusefs.Ours(own[1])
}

// umountItself has umount(8) unmount what is somebody else's.
func umountItself(args []string, stderr io.Writer) int {
	if err := unix.Exec("/bin/umount", append([]string{"umount", "-i"}, args...), os.Environ()); err != nil {
		say(stderr, "umount(8) cannot be started: %v", err)
	}
	return exitSystem
}

// end unmounts because of a signal. SIGINT, from a person at a terminal, leaves a mount
// that is in use alone the first time. Other signals come from somebody who will send
// SIGKILL next: at shutdown init sends SIGTERM to all, once, those who use the mount
// included. So everything is made durable, and the mount leaves the tree; its users may
// finish, and the last one's end ends the daemon.
func end(server *fusefs.Server, fs *ext2.FS, s os.Signal, again bool, logger *slog.Logger) {
	err := server.Close()
	if errors.Is(err, unix.EBUSY) && s == unix.SIGINT && !again {
		logger.Warn("not unmounted: files are in use; still serving (once more detaches the mount)", "signal", s.String())
		return
	}
	if err != nil {
		if err := fs.Sync(context.Background()); err != nil {
			logger.Error("not everything could be made durable", "error", err)
		}
	}
	if errors.Is(err, unix.EBUSY) {
		logger.Warn("files are in use: out of the tree, serving until the last user is gone", "signal", s.String())
		err = server.Detach()
	}
	if err != nil {
		logger.Error("not unmounted", "error", err)
	}
}
